package planner_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// Whatever a file contains, reading it as a plan gives an error or a plan that writes the
// same file.
func FuzzRead(f *testing.F) {
	w := newWorld(f, f.TempDir())
	defer w.close()
	p := w.plan(sys(chain()...))
	path := filepath.Join(f.TempDir(), "plan")
	if err := planner.Write(path, p); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"tenon_plan":1,"digest":"sha256:74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b","plan":null}`))
	f.Add([]byte(`{"tenon_plan":1,"tenon_plan":2,"plan":{}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "plan")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := planner.Read(path)
		if err != nil {
			return
		}
		var file struct {
			Digest string
			Plan   json.RawMessage
		}
		if err := json.Unmarshal(content, &file); err != nil || ir.Sum(file.Plan) != file.Digest {
			t.Errorf("read a plan whose digest is not its own, %v", err)
		}
		p.Summary()
		planner.Priorities(p)
		if err := planner.Write(path, p); err != nil {
			t.Errorf("a plan that was read cannot be written: %v", err)
		}
	})
}

// A handmade plan with a matching digest is refused if it cannot be executed or would
// leave its folders.
func TestAPlanThatCannotBeWalkedIsRefused(t *testing.T) {
	w := world1(t)
	good, err := json.Marshal(w.plan(sys(chain()...)))
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(p *planner.Plan){
		"a relative folder":         func(p *planner.Plan) { p.Dir = "x" },
		"an unknown representation": func(p *planner.Plan) { p.System.Version = 9 },
		"a unit that leaves":        func(p *planner.Plan) { p.System.Units[0].ID = "../../x" },
		"an unknown kind":           func(p *planner.Plan) { p.System.Units[0].Kind = "demon" },
		"an output that leaves":     func(p *planner.Plan) { p.System.Units[0].Outputs[0].Port = "../../x" },
		"an output twice": func(p *planner.Plan) {
			u := &p.System.Units[0]
			u.Outputs = append(u.Outputs, u.Outputs[0])
		},
		"an input that is not there": func(p *planner.Plan) {
			u := &p.System.Units[0]
			u.Inputs = append(u.Inputs, ir.Input{Port: "x", Unit: "sources/none", From: "out"})
		},
		"a cycle": func(p *planner.Plan) {
			u := &p.System.Units[0]
			u.Inputs = append(u.Inputs, ir.Input{Port: "x", Unit: u.ID, From: u.Outputs[0].Port})
		},
		"code that leaves": func(p *planner.Plan) {
			p.System.Units[0].Code.Files = []ir.CodeFile{{Path: "../x"}}
		},
		"an amount that overflows": func(p *planner.Plan) { p.System.Units[0].Needs.Memory = 1 << 62 },
		"a negative amount":        func(p *planner.Plan) { p.System.Pools = []ir.Pool{{Name: "p", Resources: ir.Resources{GPU: -1}}} },
		"a negative timeout":       func(p *planner.Plan) { p.System.Units[0].Timeout = -1 },
		"an unknown action":        func(p *planner.Plan) { p.Items[0].Action = "explode" },
		"no item for a unit":       func(p *planner.Plan) { p.Items = p.Items[1:] },
		"two items for a unit":     func(p *planner.Plan) { p.Items = append(p.Items, p.Items[0]) },
		"the end of a unit that is declared": func(p *planner.Plan) {
			p.Items = append(p.Items, planner.Item{Unit: p.Items[0].Unit, Action: planner.Delete})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := new(planner.Plan)
			if err := json.NewDecoder(bytes.NewReader(good)).Decode(p); err != nil {
				t.Fatal(err)
			}
			edit(p)
			path := filepath.Join(t.TempDir(), "plan")
			if err := planner.Write(path, p); err != nil {
				t.Fatal(err)
			}
			if _, err := planner.Read(path); err == nil || errors.Is(err, planner.ErrEdited) {
				t.Errorf("error %v", err)
			}
		})
	}
}
