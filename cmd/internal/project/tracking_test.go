package project

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/mlflow"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// An apply that is killed after it has recorded the end of a run, but before it has tracked it, loses nothing: the next one
// tracks it. What it had begun to write about an evaluation ends the training as the training ended.
func TestTheEndOfARunIsTrackedAfterAKill(t *testing.T) {
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := New(Settings{Dir: t.TempDir()}).Open(ctx)
	check(err)
	defer w.Close()
	l, err := w.store.Lock(ctx, state.Holder{}, state.LockOptions{})
	check(err)
	n, err := l.BeginRevision(ctx, state.Revision{System: "demo"})
	check(err)
	tr := &tracker{w: w, to: &ir.Tracking{URI: "http://127.0.0.1:9", Experiment: "demo"}, id: "lineage", spool: w.spool(), wake: make(chan struct{}, 1)}

	begin := func(u *ir.Unit) state.Run {
		t.Helper()
		r := state.Run{Key: "sha256:" + u.ID, Unit: u.ID, Definition: u.Digest, Attempt: 1, Revision: n, Started: time.Now(), Outcome: state.Started}
		r.ID, err = l.Begin(ctx, r)
		check(err)
		return r
	}
	finish := func(u *ir.Unit, r state.Run, metric string, out map[string]artifact.Artifact) state.Run {
		t.Helper()
		r.Outcome, r.Finished, r.Metrics, r.Outputs = state.Done, r.Started.Add(time.Minute), map[string]float64{metric: 0.5}, out
		check(l.Finish(ctx, r, u, nil))
		return r
	}
	train := &ir.Unit{ID: "models/late/train", Kind: ir.Job, Digest: "sha256:a", Outputs: []ir.Output{{Port: "model", Kind: ir.Model}}}
	evaluate := &ir.Unit{ID: "models/late/evaluate", Kind: ir.Job, Digest: "sha256:b"}
	report := artifact.Artifact{Digest: "sha256:" + strings.Repeat("1", 64), Kind: string(ir.Report)}
	folder := w.artifacts.Path(report.Digest)
	check(os.MkdirAll(folder, 0o755))
	check(os.WriteFile(filepath.Join(folder, "report.json"), []byte("{}"), 0o644))

	training := begin(train)
	tr.Began(train, training)
	training = finish(train, training, "loss", map[string]artifact.Artifact{"model": {Digest: "sha256:2", Kind: string(ir.Model)}, "report": report})
	time.Sleep(2 * time.Millisecond) // the two begin at different times
	evaluation := begin(evaluate)
	check(w.spool().Append(evaluation.ID, mlflow.Entry{Run: tr.describe(train, training)}))
	f, err := os.OpenFile(filepath.Join(w.spool().Dir, fmt.Sprintf("%d.jsonl", evaluation.ID)), os.O_APPEND|os.O_WRONLY, 0)
	check(err)
	_, err = f.WriteString(`{"metrics":{"st`)
	check(err)
	check(f.Close())
	evaluation = finish(evaluate, evaluation, "roc_auc", map[string]artifact.Artifact{"report": report})

	check(w.closeTracked(ctx))
	check(w.closeTracked(ctx)) // which changes nothing more
	lines := func(run state.Run) []string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(w.spool().Dir, fmt.Sprintf("%d.jsonl", run.ID)))
		check(err)
		return strings.Split(strings.TrimSpace(string(b)), "\n")[1:]
	}
	at := func(r state.Run) string { return fmt.Sprint(r.Finished.UnixMilli()) }
	want := []string{
		`{"metrics":{"step":0,"time":` + at(training) + `,"values":{"loss":0.5}}}`,
		`{"file":{"name":"train/report/report.json","content":"e30="}}`,
		`{"tags":{"tenon.output.model":"sha256:2","tenon.output.report":"` + report.Digest + `"}}`,
		`{"end":{"status":"FINISHED","time":` + at(training) + `}}`, `{"closed":true}`,
	}
	if got := lines(training); !slices.Equal(got, want) {
		t.Errorf("the training:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	want = []string{
		`{"metrics":{"st`,
		`{"metrics":{"step":0,"time":` + at(evaluation) + `,"values":{"roc_auc":0.5}}}`,
		`{"file":{"name":"evaluate/report/report.json","content":"e30="}}`,
		`{"end":{"status":"FINISHED","time":` + at(training) + `}}`, `{"closed":true}`,
	}
	if got := lines(evaluation); !slices.Equal(got, want) {
		t.Errorf("the evaluation:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A tuned model has, among the parameters of its training, those that the study found.
func TestParametersThatAStudyFound(t *testing.T) {
	w, err := New(Settings{Dir: t.TempDir()}).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	digest, err := w.artifacts.PutBytes(t.Context(), []byte(`{"number": 3, "params": {"params.depth": 6, "rounds": 9007199254740993, "stop.after.rounds": null}, "value": 0.9}`))
	if err != nil {
		t.Fatal(err)
	}
	other, err := w.artifacts.PutBytes(t.Context(), []byte("not JSON"))
	if err != nil {
		t.Fatal(err)
	}
	u := &ir.Unit{
		ID: "models/late/train", Kind: ir.Job, Params: []byte(`{"params":{"eta":0.1},"stop":7}`), Outputs: []ir.Output{{Port: "model", Kind: ir.Model}},
		Inputs: []ir.Input{{Port: "best", Unit: "models/late/tune", From: "best", Kind: ir.File}},
	}
	for of, want := range map[string]string{
		digest: `{"params":{"depth":6,"eta":0.1},"rounds":9007199254740993,"stop":{"after":{"rounds":null}}}`,
		other:  string(u.Params), "": string(u.Params), "sha256:" + strings.Repeat("0", 64): string(u.Params),
	} {
		if got := string(w.paramsOf(u, map[string]string{"best": of})); got != want {
			t.Errorf("with the result %q: %s, want %s", of, got, want)
		}
	}
	tr := &tracker{w: w, to: &ir.Tracking{}}
	shown := tr.describe(u, state.Run{Unit: u.ID, Inputs: map[string]string{"best": digest}}).Params
	if shown["depth"] != "6" || shown["eta"] != "0.1" {
		t.Errorf("MLflow gets %v", shown)
	}
	u.Outputs = nil
	if got := string(w.paramsOf(u, map[string]string{"best": digest})); got != string(u.Params) {
		t.Errorf("what makes no model has %s", got)
	}
}
