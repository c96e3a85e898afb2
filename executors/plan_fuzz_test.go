package executors_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
)

// A plan file with a matching digest is, whatever it contains, either refused or applied
// completely, and nothing outside of the state folder changes.
func FuzzApply(f *testing.F) {
	rules := ir.Unit{ID: "slos/s", Entity: "slos/s", Kind: ir.Record, Component: "slo.rules",
		Params: []byte(`{"content":"x","file":"s.yml"}`), Outputs: []ir.Output{{Port: "rules", Kind: ir.File}}}
	service := service("deployments/d", `{}`)
	code := table("features/c", `{}`, "sources/a")
	code.Code = ir.Code{Runtime: ir.Command, Command: []string{"./run"}, Files: []ir.CodeFile{{Path: "run", Digest: ir.Sum(nil)}}}
	for _, units := range [][]ir.Unit{
		{table("sources/a", `{}`)},
		{table("sources/a", `{}`), code, service, rules},
		{table("sources/a", `{}`), model("models/m/train", `{}`, "sources/a")},
	} {
		p := planner.Plan{System: &ir.System{Version: ir.Version, Name: "x"}, Blobs: map[string][]byte{ir.Sum(nil): {}}}
		for _, u := range units {
			must(u.Define())
			p.System.Units = append(p.System.Units, u)
			action := map[ir.Kind]planner.Action{ir.Job: planner.Run, ir.Service: planner.Create, ir.Record: planner.Create}[u.Kind]
			p.Items = append(p.Items, planner.Item{Unit: u.ID, Kind: u.Kind, Action: action})
		}
		b, err := json.Marshal(p)
		must(err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		var p planner.Plan
		if len(content) > 1<<16 || json.Unmarshal(content, &p) != nil {
			return
		}
		top := t.TempDir()
		defer removeTree(top)
		err := inBubble(t, func(ctx context.Context) error { return applyFile(ctx, filepath.Join(top, "system"), &p) })
		if err != nil {
			t.Error(err)
		}
		left, err := os.ReadDir(top)
		must(err)
		if len(left) != 1 {
			t.Errorf("it has written to %v", left)
		}
		left, err = os.ReadDir(filepath.Join(top, "system"))
		must(err)
		if names := slices.Collect(func(yield func(string) bool) {
			for _, e := range left {
				if !yield(e.Name()) {
					return
				}
			}
		}); !slices.Equal(names, []string{".tenon", "data", "plan"}) && !slices.Equal(names, []string{".tenon", "data"}) {
			t.Errorf("the folder of the system holds %v", names)
		}
	})
}

// applyFile applies a plan through a file.
func applyFile(ctx context.Context, dir string, p *planner.Plan) error {
	must(os.MkdirAll(filepath.Join(dir, "data"), 0o755))
	w := &world{dir: dir, liar: newLiar(dir)}
	defer w.close()
	w.open(ctx)
	meta, err := w.store.Meta(ctx)
	must(err)
	p.Dir, p.State = dir, meta
	path := filepath.Join(dir, "plan")
	if err := planner.Write(path, p); err != nil {
		return nil // not JSON
	}
	if p, err = planner.Read(path); err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	if _, err := executors.Apply(ctx, p, w.options(w.liar)); err != nil {
		return nil
	}
	current, err := w.store.Current(context.WithoutCancel(ctx))
	must(err)
	for _, u := range p.System.Units {
		if c, ok := current[u.ID]; !ok || c.Definition != u.Digest {
			return errors.New("all is well, but " + u.ID + " is not deployed")
		}
	}
	return nil
}
