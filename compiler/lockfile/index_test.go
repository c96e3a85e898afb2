package lockfile

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func openLocked(t *testing.T, dir string) (*File, []byte) {
	t.Helper()
	f, err := Open(dir, func(_ context.Context, requirements []string) ([]byte, error) {
		return []byte(strings.Join(requirements, "\n") + " --hash=x\n"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock(t.Context(), []string{"acme==1"})
	if err != nil {
		t.Fatal(err)
	}
	return f, lock
}

func TestAnIndexIsMissingUntilItIsAdded(t *testing.T) {
	dir := t.TempDir()
	f, lock := openLocked(t, dir)
	if b := f.Classes(lock, "acme"); b != nil {
		t.Errorf("without an index, it says %q", b)
	}
	f.Classes(lock, "acme")
	if got := f.Missing()[string(lock)]; !slices.Equal(got, []string{"acme"}) {
		t.Errorf("%v is missing", got)
	}
	f.Add(lock, "acme", []string{"acme==1 acme"}, []string{"acme==1", "acme.Forest {}"})
	f.Add(lock, "other", []string{"acme==1 acme"}, nil)
	if len(f.Missing()) > 0 {
		t.Errorf("%v is still missing", f.Missing())
	}
	if wrote, err := f.Write(); !wrote || err != nil {
		t.Fatalf("wrote %v, %v", wrote, err)
	}
	f, lock = openLocked(t, dir)
	if got := string(f.Classes(lock, "acme")); got != "acme==1\nacme.Forest {}" {
		t.Errorf("the index is %q", got)
	}
	if got := f.Classes(lock, "other"); got == nil || len(got) > 0 {
		t.Errorf("of a module that does not exist, it says %q", got)
	}
	if got := f.Modules(lock); !slices.Equal(got, []string{"acme==1 acme"}) {
		t.Errorf("the modules are %q", got)
	}
	if wrote, err := f.Write(); wrote || err != nil || len(f.Missing()) > 0 {
		t.Errorf("a complete file was written: %v, %v; missing: %v", wrote, err, f.Missing())
	}
}

// Two versions of the file may be merged.
func TestAnIndexOfAnotherLockDoesNotCount(t *testing.T) {
	dir := t.TempDir()
	f, lock := openLocked(t, dir)
	f.Add(lock, "acme", nil, []string{"acme==1"})
	if _, err := f.Write(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, Name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), "--hash=x", "--hash=y", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	f, lock = openLocked(t, dir)
	if got := f.Classes(lock, "acme"); got != nil || len(f.Missing()) != 1 {
		t.Errorf("it says %q, and %v is missing", got, f.Missing())
	}
}

// The library's own locks are not in the file.
func TestALockOfAnotherFileHasNoIndex(t *testing.T) {
	f, _ := openLocked(t, t.TempDir())
	if got := f.Classes([]byte("b==1\n"), "b"); got != nil || len(f.Missing()) > 0 {
		t.Errorf("it says %q, and %v is missing", got, f.Missing())
	}
	f.Add([]byte("b==1\n"), "b", nil, nil)
	if f.indexed {
		t.Error("an index was added to no lock")
	}
}

func TestAnIndexThatCannotBeWrittenIsNoFault(t *testing.T) {
	dir := t.TempDir()
	f, lock := openLocked(t, dir)
	if _, err := f.Write(); err != nil {
		t.Fatal(err)
	}
	f.Path = filepath.Join(dir, "gone", Name)
	f.Add(lock, "acme", nil, nil)
	if wrote, err := f.Write(); wrote || err != nil {
		t.Errorf("wrote %v, %v", wrote, err)
	}
}
