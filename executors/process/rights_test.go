package process_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// docs/step.md says what a program may do that runs as a local process: all that its user
// may. If something here is prevented one day, the page has to say so.
func TestALocalProcessMayDoWhatItsUserMay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	victim := exec.Command("sleep", "60")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer victim.Wait() //nolint:errcheck // it was ended by a signal
	folder := t.TempDir()
	input, other := filepath.Join(folder, "artifacts", "aa"), filepath.Join(folder, "runs", "other", "out")
	for _, dir := range []string{filepath.Dir(input), other} {
		mkdir(t, dir)
	}
	if err := os.WriteFile(input, []byte("x"), 0o444); err != nil {
		t.Fatal(err)
	}
	attempts := [][]string{
		{"chmod", input}, {"write", input}, // an input, or any other artifact
		{"write", filepath.Join(other, "out")},   // an output of another unit
		{"write", filepath.Join(folder, "file")}, // any other file
		{"tcp", l.Addr().String()},               // the network
		{"kill", strconv.Itoa(victim.Process.Pid)},
	}
	list, err := json.Marshal(attempts)
	if err != nil {
		t.Fatal(err)
	}
	task := command(t, t.TempDir(), executortest.Program(), "attack", string(list))
	task.Unit.Outputs = []ir.Output{{Port: "out", Kind: ir.File}}
	task.Inputs = map[string]step.Port{"data": {Kind: ir.File, Path: input}}
	if _, st := run(t, newExecutor(process.Options{}), task); st.Phase != state.Succeeded {
		t.Fatalf("%+v, log: %s", st, read(t, filepath.Join(task.Dir, "log")))
	}
	var stopped []string
	if err := json.Unmarshal([]byte(read(t, filepath.Join(task.Dir, "out", "out", "attacks.json"))), &stopped); err != nil {
		t.Fatal(err)
	}
	for i, by := range stopped {
		if by != "" {
			t.Errorf("%q was stopped by %q", attempts[i], by)
		}
	}
}
