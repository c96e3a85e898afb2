package process

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/tenon-ml/tenon/planner/state"
)

// Whatever the files of a run contain, the task has a status.
func FuzzLook(f *testing.F) {
	f.Add([]byte(`{"name":"a","kind":"job","pid":1,"boot":"x"}`), []byte("0 12 .\n"), []byte(""))
	f.Add([]byte(`{"name":"a","pid":-1,"disk":-5}`), []byte("never ."), []byte("killed"))
	f.Add([]byte(`{"name":`), []byte("99999999999999999999 -1 ."), []byte("\xff"))
	f.Add([]byte(`{"kind":"service","endpoint":{"port":-3}}`), []byte("300 ."), []byte(""))
	f.Fuzz(func(t *testing.T, process, exit, verdict []byte) {
		dir := t.TempDir()
		for path, content := range map[string][]byte{taskStatePath(dir): process, exitPath(dir): exit, verdictPath(dir): verdict} {
			if len(content) == 0 {
				continue
			}
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		ts, err := taskStates.Read(dir)
		if err != nil {
			return
		}
		if ts.Dir != dir {
			t.Fatalf("the task state of %s says it is of %s", dir, ts.Dir)
		}
		switch st := ts.look(); st.Phase {
		case state.Running, state.Succeeded, state.Failed, state.Absent:
		default:
			t.Errorf("status %+v", st)
		}
		h, err := taskStates.Handle(ts)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := taskStates.Of(h); err != nil || again.Dir != dir {
			t.Errorf("the handle comes back as %+v, %v", again, err)
		}
		_, _ = taskStates.Of(state.Handle{Executor: Name, Data: json.RawMessage(process)})
	})
}
