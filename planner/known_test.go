package planner_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/planner"
)

// A plan with a state that was read ahead is the plan without, whether the state has changed
// in between or not.
func TestAStateIsReadAhead(t *testing.T) {
	before, after := sys(chain()...), sys(chain(on("models/late/train", params(`{"depth": 3}`)))...)
	for name, tt := range map[string]struct {
		between func(w *world)
		current bool // what was read is still so
	}{
		"nothing happens":                   {func(*world) {}, true},
		"another one applies the change":    {func(w *world) { w.apply(w.plan(after)) }, false},
		"another one removes what there is": {func(w *world) { w.apply(w.plan(sys())) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := world1(t)
			w.apply(w.plan(before))
			known, err := planner.Know(t.Context(), w.store)
			if err != nil {
				t.Fatal(err)
			}
			was, err := w.store.Meta(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tt.between(w)
			got, err := planner.Make(t.Context(), after, planner.Inputs{
				Dir: w.dir, State: w.store, Artifacts: w, Digests: w.digests, Inspector: w, Known: known, Options: planner.Options{Now: w.now},
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w.plan(after), got); diff != "" {
				t.Errorf("(-read by the plan +read ahead)\n%s", diff)
			}
			if (got.State == was) != tt.current {
				t.Errorf("the plan is of serial %d, and %d was read ahead", got.State.Serial, was.Serial)
			}
		})
	}
}
