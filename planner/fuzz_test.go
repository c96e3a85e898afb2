package planner_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// Whatever is edited in a plan, with a digest that matches, it is refused or means what it
// says: nothing is dropped, and nothing becomes something else.
func FuzzReadMeaning(f *testing.F) {
	w := newWorld(f, f.TempDir())
	defer w.close()
	good, err := json.Marshal(w.plan(sys(chain()...)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"system": {"version": 1, "name": "x", "units": []}, "dir": "/x"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		var compact bytes.Buffer
		if json.Compact(&compact, content) != nil || repeats(compact.Bytes()) {
			return
		}
		path := filepath.Join(t.TempDir(), "plan")
		file := fmt.Appendf(nil, `{"tenon_plan":%d,"digest":%q,"plan":%s}`, planner.Version, ir.Sum(compact.Bytes()), compact.Bytes())
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := planner.Read(path)
		if err != nil {
			return
		}
		read, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := meaning(t, compact.Bytes()), meaning(t, read); a != b {
			t.Errorf("a plan was read as another one:\n%s\n%s", a, b)
		}
	})
}

// repeats reports whether an object has two fields of one name, whatever their case. What
// such a file says depends on who reads it.
func repeats(b []byte) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	type level struct {
		names map[string]bool // nil in a list
		value bool            // the next token is a value
	}
	var levels []level
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		last := len(levels) - 1
		if name, ok := token.(string); ok && last >= 0 && levels[last].names != nil && !levels[last].value {
			name = strings.ToLower(name)
			if levels[last].names[name] {
				return true
			}
			levels[last].names[name], levels[last].value = true, true
			continue
		}
		if last >= 0 {
			levels[last].value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{names: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:last]
		}
	}
}

// meaning returns a JSON value without what says nothing: the order and the spelling of
// names, and fields that are empty.
func meaning(t *testing.T, b []byte) string {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(plain(v))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, field := range v {
			if field = plain(field); field != nil {
				kept[strings.ToLower(name)] = field
			}
		}
		if len(kept) == 0 {
			return nil
		}
		return kept
	case []any:
		if len(v) == 0 {
			return nil
		}
		items := make([]any, len(v))
		for i := range v {
			items[i] = plain(v[i])
		}
		return items
	case string:
		if v == "" {
			return nil
		}
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			if at.IsZero() {
				return nil
			}
			return at.UTC() // which has several spellings
		}
	case bool:
		if !v {
			return nil
		}
	case json.Number:
		if v == "0" {
			return nil
		}
	}
	return v
}

// A handmade plan with a matching digest is refused if it cannot be executed or would
// leave its folders.
func TestPlanThatCannotBeAppliedIsRefused(t *testing.T) {
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
		"an input that does not exist": func(p *planner.Plan) {
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
