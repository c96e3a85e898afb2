package containerd_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A service writes to the folder that its later versions get, as another user than root.
func TestAServiceKeepsFiles(t *testing.T) {
	task := job(t)
	task.Kept = filepath.Join(t.TempDir(), "kept")
	mkdir(t, task.Kept)
	ok(t, os.Chmod(task.Kept, 0o700))
	before := filepath.Join(task.Kept, "before") // by another version, which ran as root
	ok(t, os.WriteFile(before, []byte("x"), 0o600))
	list, err := json.Marshal([][]string{{"write", "/tenon/kept/log"}, {"write", "/tenon/kept/before"}})
	ok(t, err)
	task.Unit.Kind, task.Unit.Outputs, task.Unit.Keeps = ir.Service, nil, "log"
	task.Unit.Code.Command = []string{"/bin/program", "attack", string(list)}
	apply(t, newExecutor(t), task)
	eventually(t, "the service has written", func() bool {
		info, err := os.Stat(before)
		_, made := os.Stat(filepath.Join(task.Kept, "log"))
		return err == nil && made == nil && info.Size() > 1
	})
}
