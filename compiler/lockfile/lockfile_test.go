package lockfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestALockIsResolvedOnceAndKept(t *testing.T) {
	dir, calls := t.TempDir(), 0
	resolve := func(_ context.Context, requirements []string) ([]byte, error) {
		calls++
		return []byte(strings.Join(requirements, "\n") + " --hash=x\n"), nil
	}
	lock := func(requirements ...string) string {
		f, err := Open(dir, resolve)
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.Lock(t.Context(), requirements)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first := lock("b==2", "a==1")
	if first != "a==1\nb==2 --hash=x\n" {
		t.Errorf("lock is %q", first)
	}
	if again := lock("a==1", "b==2"); again != first || calls != 1 {
		t.Errorf("the same requirements in another order gave %q after %d calls", again, calls)
	}
	lock("c==3")
	b, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil || !strings.Contains(string(b), "a==1") {
		t.Errorf("the lock of another environment is lost: %v\n%s", err, b)
	}
}

func TestAFileThatCannotBeTrustedIsRefused(t *testing.T) {
	for name, text := range map[string]string{"damaged": "{", "newer": `{"version": 9}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, Name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, nil); err == nil {
			t.Errorf("a %s file was taken", name)
		}
	}
}

func TestFailedResolverKeepsTheFile(t *testing.T) {
	dir, fails := t.TempDir(), errors.New("no network")
	f, err := Open(dir, func(context.Context, []string) ([]byte, error) { return nil, fails })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lock(t.Context(), []string{"a"}); !errors.Is(err, fails) {
		t.Errorf("got %v", err)
	}
	if wrote, err := f.Write(); wrote || err != nil {
		t.Errorf("wrote %v, %v", wrote, err)
	}
}

func TestAModuleIsPinnedUntilItIsNotRequired(t *testing.T) {
	dir := t.TempDir()
	compile := func(required []string, found map[string]string) map[string]string {
		t.Helper()
		f, err := Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		pinned := map[string]string{}
		for module, digest := range found {
			pinned[module] = f.Pin(module, digest)
		}
		f.Prune(func(m string) bool { return slices.Contains(required, m) })
		if _, err := f.Write(); err != nil {
			t.Fatal(err)
		}
		return pinned
	}
	both := []string{"a@v0.1.0", "b@v0.1.0"}
	compile(both, map[string]string{"a@v0.1.0": "sha256:1", "b@v0.1.0": "sha256:2"})
	if got := compile(both, map[string]string{"a@v0.1.0": "sha256:3"}); got["a@v0.1.0"] != "sha256:1" {
		t.Errorf("the pin is %v", got)
	}
	// b is required but not requested: another environment of the system imports it.
	if got := compile([]string{"a@v0.2.0"}, map[string]string{"b@v0.1.0": "sha256:4"}); got["b@v0.1.0"] != "sha256:2" {
		t.Errorf("the pin of what was not asked for is %v", got)
	}
	b, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil || strings.Contains(string(b), "a@v0.1.0") || !strings.Contains(string(b), "b@v0.1.0") {
		t.Errorf("%v: it holds %s", err, b)
	}
}

func TestAFileOfVersion1IsRead(t *testing.T) {
	dir := t.TempDir()
	old := `{"version": 1, "python": [{"requirements": ["a==1"], "lock": ["a==1 --hash=x"]}]}`
	if err := os.WriteFile(filepath.Join(dir, Name), []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := f.Lock(t.Context(), []string{"a==1"}); err != nil || string(b) != "a==1 --hash=x\n" {
		t.Errorf("the lock is %q, %v", b, err)
	}
	f.Prune(func(string) bool { return false })
	if wrote, err := f.Write(); wrote || err != nil {
		t.Errorf("a file that says all was written: %v, %v", wrote, err)
	}
}
