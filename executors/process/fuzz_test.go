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
		for path, content := range map[string][]byte{recordPath(dir): process, exitPath(dir): exit, verdictPath(dir): verdict} {
			if len(content) == 0 {
				continue
			}
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r, err := records.Read(dir)
		if err != nil {
			return
		}
		if r.Dir != dir {
			t.Fatalf("the record of %s says it is of %s", dir, r.Dir)
		}
		switch st := r.look(); st.Phase {
		case state.Running, state.Succeeded, state.Failed, state.Absent:
		default:
			t.Errorf("status %+v", st)
		}
		h, err := records.Handle(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := records.Of(h); err != nil || again.Dir != dir {
			t.Errorf("the handle comes back as %+v, %v", again, err)
		}
		_, _ = records.Of(state.Handle{Executor: Name, Data: json.RawMessage(process)})
	})
}
