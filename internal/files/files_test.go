package files_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/internal/files"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// names are those in a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	ok(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestFileIsReplacedAtomically(t *testing.T) {
	for name, write := range map[string]func(string, []byte, fs.FileMode) error{"write": files.Write, "synced": files.WriteSynced} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a")
			ok(t, write(path, []byte("before"), 0o600))
			old, err := os.Open(path)
			ok(t, err)
			defer old.Close()
			ok(t, write(path, []byte("after"), fs.ModeSetuid|0o444))
			b, err := os.ReadFile(path)
			ok(t, err)
			info, err := os.Stat(path)
			ok(t, err)
			if string(b) != "after" || info.Mode() != 0o444 {
				t.Errorf("%q of mode %v", b, info.Mode())
			}
			was := make([]byte, 10)
			if n, _ := old.Read(was); string(was[:n]) != "before" {
				t.Errorf("who had it open reads %q", was[:n])
			}
		})
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755)) // a file cannot take its place
	if err := files.Write(filepath.Join(dir, "a"), []byte("x"), 0o644); err == nil {
		t.Error("a folder was replaced by a file")
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("it left %q", got)
	}
	if err := files.Write(filepath.Join(dir, "no", "a"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that does not exist: %v", err)
	}
}

func TestSweepRemovesOnlyPartialFiles(t *testing.T) {
	dir := t.TempDir()
	ok(t, files.Sweep(filepath.Join(dir, "no")))
	ok(t, os.MkdirAll(filepath.Join(dir, files.HalfWritten+"1", "x"), 0o755))
	ok(t, os.WriteFile(filepath.Join(dir, files.HalfWritten+"2"), nil, 0o644))
	ok(t, os.WriteFile(filepath.Join(dir, "whole"), nil, 0o644))
	ok(t, files.Sweep(dir))
	if got := names(t, dir); len(got) != 1 || got[0] != "whole" {
		t.Errorf("%q is left", got)
	}
}

func TestReadOnlyTreesAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	ok(t, os.MkdirAll(filepath.Join(dir, "b", "c"), 0o755))
	ok(t, os.WriteFile(filepath.Join(dir, "b", "file"), nil, 0o444))
	for _, d := range []string{"b/c", "b", ""} {
		ok(t, os.Chmod(filepath.Join(dir, d), 0o555))
	}
	ok(t, files.RemoveAll(dir))
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	ok(t, files.RemoveAll(dir))
}
