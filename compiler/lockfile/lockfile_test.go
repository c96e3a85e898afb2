package lockfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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

func TestAResolverThatFailsLeavesTheFileAlone(t *testing.T) {
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
