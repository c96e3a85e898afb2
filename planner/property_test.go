package planner_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"pgregory.net/rapid"
)

// A sketch is a unit as the property changes it.
type sketch struct {
	kind      ir.Kind
	component string
	param     int
	from      []int // sketches before it
}

// draw returns the system of some sketches; removed ones are nil.
func draw(sketches []*sketch) *ir.System {
	id := func(i int) string { return fmt.Sprintf("features/u%02d/%s", i, sketches[i].kind) }
	var units []ir.Unit
	for i, s := range sketches {
		if s == nil {
			continue
		}
		u := job(id(i), params(fmt.Sprintf(`{"p":%d}`, s.param)))
		switch s.kind {
		case ir.Service:
			u = service(id(i), params(fmt.Sprintf(`{"p":%d}`, s.param)))
		case ir.Record:
			u = record(id(i), params(fmt.Sprintf(`{"p":%d}`, s.param)))
		}
		u.Component = s.component
		for n, j := range s.from {
			if from := sketches[j]; from != nil && from.kind != ir.Record {
				port := "table"
				if from.kind == ir.Service {
					port = "endpoint"
				}
				reads(fmt.Sprint("in", n), id(j)+"."+port)(&u)
			}
		}
		units = append(units, u)
	}
	return sys(units...)
}

// drawSketch draws the i-th sketch of a system.
func drawSketch(t *rapid.T, i int) *sketch {
	s := &sketch{
		kind:      rapid.SampledFrom([]ir.Kind{ir.Job, ir.Job, ir.Job, ir.Service, ir.Record}).Draw(t, "kind"),
		component: rapid.SampledFrom([]string{"sql", "constant", "random"}).Draw(t, "component"),
		param:     rapid.IntRange(0, 2).Draw(t, "param"),
	}
	if i > 0 {
		s.from = rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 3), rapid.ID).Draw(t, "from")
	}
	return s
}

// After an apply there is nothing left to do, whatever changed before; what the plan
// considers unchanged is unchanged; and nothing runs that the plan did not name.
func TestApplyOfAPlanLeavesNothingToDo(t *testing.T) {
	top := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(top, "")
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, dir)
		defer w.close()
		var sketches []*sketch
		for i := range rapid.IntRange(1, 8).Draw(t, "units") {
			sketches = append(sketches, drawSketch(t, i))
		}
		for range rapid.IntRange(1, 4).Draw(t, "applies") {
			for range rapid.IntRange(0, 3).Draw(t, "edits") {
				i := rapid.IntRange(0, len(sketches)-1).Draw(t, "unit")
				switch rapid.IntRange(0, 4).Draw(t, "edit") {
				case 0:
					sketches[i] = drawSketch(t, i)
				case 1:
					sketches[i] = nil
				case 2:
					if sketches[i] != nil {
						sketches[i].param = rapid.IntRange(0, 2).Draw(t, "param")
					}
				case 3: // an artifact is lost
					runs, err := w.store.CurrentRuns(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range runs {
						if a, ok := r.Outputs["table"]; ok && r.ID%3 == int64(i%3) {
							w.lost[a.Digest] = true
						}
					}
				case 4: // services die
					clear(w.statuses)
				}
			}
			s := draw(sketches)
			var rerun []string
			if len(s.Units) > 0 && rapid.IntRange(0, 4).Draw(t, "force") == 0 {
				rerun = []string{rapid.SampledFrom(s.Units).Draw(t, "rerun").ID}
			}
			p := w.plan(s, rerun...)
			w.apply(p)
			for _, ran := range w.ran {
				if i := slices.IndexFunc(p.Items, func(it planner.Item) bool { return it.Unit == ran }); !p.Items[i].Action.Changes() {
					t.Errorf("%s ran, but the plan says %s", ran, p.Items[i].Action)
				}
			}
			for _, it := range p.Items {
				if it.Action.Changes() && !it.Unless && it.Action != planner.Delete && !slices.Contains(w.ran, it.Unit) {
					t.Errorf("%s did not run, but the plan says %s", it.Unit, it.Action)
				}
				if it.Action.Changes() && len(it.Reasons) == 0 {
					t.Errorf("%s of %s has no reason", it.Action, it.Unit)
				}
			}
			if again := lines(w.plan(s)); len(again) > 0 {
				t.Fatalf("after an apply: %q", again)
			}
		}
	})
}
