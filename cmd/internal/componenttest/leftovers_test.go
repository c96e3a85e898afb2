package componenttest

import (
	"os"
	"testing"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

// The folder of a run is removed by others only once its run is gone.
func TestAFolderInUseIsLeftAlone(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir, lock, err := newFolder()
	if err != nil {
		t.Fatal(err)
	}
	clear := func() (there bool) {
		if err := clearLeft(t.Context(), project.Settings{}); err != nil {
			t.Error(err)
		}
		_, err := os.Stat(dir)
		return err == nil
	}
	if !clear() {
		t.Error("the folder of a run was removed")
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if clear() {
		t.Error("the folder of a run that is gone is still there")
	}
}
