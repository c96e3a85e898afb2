package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/internal/logfile"
)

// A copy takes no more than predicted, and hardly less.
func TestTaken(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "scratch")
	err := errors.Join(
		os.MkdirAll(filepath.Join(folder, "sub"), 0o755),
		os.WriteFile(filepath.Join(folder, "empty"), nil, 0o644),
		os.WriteFile(filepath.Join(folder, "small"), make([]byte, 1), 0o644),
		os.WriteFile(filepath.Join(folder, "sub", "large"), make([]byte, 1<<20+1), 0o644),
		os.Symlink("small", filepath.Join(folder, "link")),
		os.Symlink(folder, filepath.Join(dir, "elsewhere")),
	)
	if err != nil {
		t.Fatal(err)
	}
	wrote := disk.Written(dir)
	for _, path := range []string{folder, filepath.Join(dir, "elsewhere")} {
		if got := disk.Taken(path); got < wrote || got > wrote+64<<10 {
			t.Errorf("%s takes up %d bytes, and %d were written", path, got, wrote)
		}
	}
	if got := disk.Taken(filepath.Join(folder, "small")); got != 4096 {
		t.Errorf("a small file takes up %d bytes", got)
	}
	if got := disk.Taken(filepath.Join(folder, "none")); got != 0 {
		t.Errorf("what is not there takes up %d bytes", got)
	}
}

func TestALogCountsBeyondItsBound(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	err := errors.Join(
		os.Mkdir(logfile.Folder(log), 0o755),
		os.WriteFile(log, make([]byte, logfile.PartSize), 0o644),
		os.WriteFile(filepath.Join(logfile.Folder(log), "1"), make([]byte, logfile.Most-logfile.PartSize), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := disk.Written(dir); got != 0 {
		t.Errorf("a log within its bound counts as %d bytes", got)
	}
	if err := os.WriteFile(filepath.Join(logfile.Folder(log), "2"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := disk.Written(dir); got != 1<<20 {
		t.Errorf("1 MiB beyond the bound counts as %d bytes", got)
	}
}
