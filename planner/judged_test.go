package planner_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A plan warns of a model that is judged by rows that have judged many others.
func TestWarningOfRowsThatHaveJudgedManyModels(t *testing.T) {
	gives := func(ports ...string) func(*ir.Unit) {
		return func(u *ir.Unit) {
			u.Outputs = nil
			for _, p := range ports {
				u.Outputs = append(u.Outputs, ir.Output{Port: p, Kind: ir.Table})
			}
		}
	}
	model := func(name string, trial int, split string) []ir.Unit {
		report := func(u *ir.Unit) { u.Outputs = []ir.Output{{Port: "report", Kind: ir.Report}} }
		at := "models/" + name + "/"
		return []ir.Unit{
			job(at+"split", reads("table", "sources/raw/fetch.table"), gives("train", "test"), params(split)),
			job(at+"train", reads("train", at+"split.train"), gives("model"), params(fmt.Sprintf(`{"trial":%d}`, trial))),
			job(at+"evaluate", reads("model", at+"train.model"), reads("test", at+"split.test"), report),
		}
	}
	const half = `{"fraction":0.5}`
	source := job("sources/raw/fetch", gives("table"))
	warnings := func(w *world, units []ir.Unit) (all []string) {
		for _, x := range w.plan(sys(append(units, source)...)).Warnings {
			all = append(all, x.Message)
		}
		return all
	}
	many := []string{"the test rows of models/a have judged 21 models: the best of them may suit these rows by chance"}

	w := world1(t)
	for trial := range 20 {
		w.apply(w.plan(sys(append(model("a", trial, half), source)...)))
	}
	if diff := cmp.Diff([]string(nil), warnings(w, model("a", 20, half))); diff != "" {
		t.Errorf("20 models are not many (-want +got):\n%s", diff)
	}
	w.apply(w.plan(sys(append(model("a", 20, half), source)...)))
	if diff := cmp.Diff(many, warnings(w, model("a", 21, half))); diff != "" {
		t.Errorf("21 models are many (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string(nil), warnings(w, model("a", 20, half))); diff != "" {
		t.Errorf("a plan that judges no model (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string(nil), warnings(w, model("a", 21, `{"fraction":0.4}`))); diff != "" {
		t.Errorf("rows that have judged none (-want +got):\n%s", diff)
	}
}
