package files_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/internal/files"
)

func TestCopyTree(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(from, "sub"), 0o755), os.WriteFile(filepath.Join(from, "sub", "run"), []byte("x"), 0o500),
		os.Symlink("sub/run", filepath.Join(from, "link")),
	); err != nil {
		t.Fatal(err)
	}
	if err := files.CopyTree(t.Context(), from, to, 0o700, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(to, "sub", "run"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the program has mode %v, %v, want 0700", info.Mode(), err)
	}
	if end, err := os.Readlink(filepath.Join(to, "link")); end != "sub/run" || err != nil {
		t.Errorf("the link leads to %q, %v", end, err)
	}
	if err := files.CopyTree(t.Context(), from, to, 0o700, 0o600); !errors.Is(err, os.ErrExist) {
		t.Errorf("a copy onto something: %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := files.CopyTree(stopped, from, to+"2", 0o700, 0o600); !errors.Is(err, context.Canceled) {
		t.Errorf("a copy that was canceled: %v", err)
	}
}
