package plane

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// What is wrong with a function in Python is answered with its name, and with the column if it
// is about a value.
func TestFaultsOfFunctions(t *testing.T) {
	columns := ir.Schema{{Name: "n", Type: "int64"}}
	for _, c := range []struct {
		err    error
		status int
		body   string
		logged bool
	}{
		{&model.ValueError{Column: "speed", Reason: "features.s: f() returned float, wanted an int"}, 422, `{"detail":[{"type":"value_error","loc":["body","instances",0,"speed"],"msg":"features.s: f() returned float, wanted an int"}]}`, false},
		{errors.New("features.s: f() refuses it: too fast"), 422, `{"detail":[{"type":"value_error","loc":["body","instances",0],"msg":"features.s: f() refuses it: too fast"}]}`, false},
		{&worker.FailedError{Name: "features.s", Says: "f() failed: KeyError: 'k'"}, 500, `{"detail":"features.s failed; the log of the service says why"}`, true},
	} {
		var log logged
		p, _ := planeOf(t, func(x *Config) {
			x.Features, x.Log = computed(columns, func([]rowsql.Value) (bool, error) { return false, c.err }), log.add
		})
		answered(t, ask(p, "POST", "/predict", `{"instances": [{"n": 1}]}`), c.status, c.body)
		if c.logged != strings.Contains(log.String(), c.err.Error()) {
			t.Errorf("the log is %q", log.String())
		}
	}
}

// lateFeatures wait for a function that takes too long.
type lateFeatures struct{ Features }

func (f lateFeatures) NewRow() RowComputer {
	return struct {
		RowComputer
		fetcher
	}{f.Features.NewRow(), f}
}

func (lateFeatures) Fetch(_ context.Context, _ int, _ func(int) []rowsql.Value, wait func(func() error) error) error {
	return wait(func() error { return &worker.LateError{Name: "features.s"} })
}

func TestAFunctionThatTakesTooLong(t *testing.T) {
	p, _ := planeOf(t, func(c *Config) { c.Features = lateFeatures{computed(ir.Schema{{Name: "n", Type: "int64"}}, nil)} })
	answered(t, ask(p, "POST", "/predict", `{"instances": [{"n": 1}]}`), 504, `{"detail":"features.s did not answer in time"}`)
}

// A function runs in its own environment, and in no other.
func TestAFunctionIsNotStartedElsewhere(t *testing.T) {
	calls := []features.Call{{Feature: "features.s", Columns: ir.Schema{{Name: "n", Type: "int64"}}, Environment: "sha256:x"}}
	if _, err := startFunctions(&step.Step{}, calls, pythonParams{}, []string{"/bin/false", "_tenon/w.py"}, 1, newStarts("")); err == nil || !strings.Contains(err.Error(), "features.s needs a Python environment that the step does not have") {
		t.Errorf("%v", err)
	}
	if _, err := startFunctions(&step.Step{}, calls, pythonParams{}, nil, 1, newStarts("")); err == nil || !strings.Contains(err.Error(), "wanted the interpreter") {
		t.Errorf("%v", err)
	}
	if _, err := startFunctions(&step.Step{Interpreters: map[string]string{"sha256:x": "/bin/false"}}, calls, pythonParams{}, []string{"/bin/true", "_tenon/w.py"}, 1, newStarts("")); err == nil || !strings.Contains(err.Error(), "features.s: a worker ended with status 1") {
		t.Errorf("%v", err)
	}
}

// Metrics name the feature; the file for tenon status counts the starts of all processes.
func TestMetricsOfFunctions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lives")
	starts := newStarts(path)
	f := &function{name: "features.s", batches: newHistogram(batchBuckets), took: newHistogram(functionBuckets)}
	p, _ := planeOf(t, func(c *Config) { c.functions = &functions{[]*function{f}} })
	f.restarts.n.Add(1)
	starts.again("was killed by SIGKILL")
	f.batches.observe(3)
	f.took.observe(0.002)
	text := ask(p, "GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`tenon_feature_restarts_total{deployment="api",feature="features.s"} 1.0`, `tenon_feature_batch_rows_sum{deployment="api",feature="features.s"} 3.0`,
		`tenon_feature_duration_seconds_bucket{deployment="api",feature="features.s",le="0.0025"} 1.0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), "was killed by SIGKILL") {
		t.Errorf("%q %v", b, err)
	}
}

// What runs without a port, such as in AWS Lambda, has no functions to ask.
func TestNoFunctions(t *testing.T) {
	var none *functions
	if all := none.For(); len(all) > 0 {
		t.Errorf("%v", all)
	}
}

// askedFeatures are features that a function in Python computes.
type askedFeatures struct {
	Features
	f *function
}

func (a askedFeatures) NewRow() RowComputer {
	return struct {
		RowComputer
		fetcher
	}{a.Features.NewRow(), a}
}

func (a askedFeatures) Fetch(ctx context.Context, n int, row func(int) []rowsql.Value, wait func(func() error) error) error {
	return wait(func() error {
		_, _, err := a.f.Compute(ctx, row(0)[:1], n)
		return err
	})
}

// While all processes of a function in Python are dead, the other version answers, also the request
// that the last one has died of.
func TestARequestMovesAwayFromAFunction(t *testing.T) {
	t.Setenv(asWorker, "1")
	columns := ir.Schema{{Name: "n", Type: "int64"}}
	rows, err := worker.StartRows(worker.Options{
		Command: []string{os.Args[0]}, Dir: t.TempDir(), Signature: &ir.Signature{Input: columns}, Processes: 1, Timeout: time.Minute,
		Log: func(string) {}, Restarted: func(string) {}, Asked: func(int) {},
	}, "features.s", columns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rows.Close)
	f := &function{Rows: rows, name: "features.s", batches: newHistogram(batchBuckets), took: newHistogram(functionBuckets)}
	v := versionsOf(t, routeOf(1, 0, 100, 0), func(name string, c *Config) {
		c.Features = computed(columns, nil)
		if name == "v2" {
			c.Features, c.functions = askedFeatures{c.Features, f}, &functions{[]*function{f}}
		}
	})
	for range 3 {
		if got := answeredBy(t, v, httptest.NewRequest("POST", "/predict", strings.NewReader(`{"instances": [{"n": 1}]}`))); got != "v1" {
			t.Fatalf("%s answers", got)
		}
		until(t, "no process is started again", rows.Alive)
	}
	if o := v.observed().Versions; o["v1"].Requests != 3 || o["v1"].Failed != 0 || o["v2"].Failed != 3 {
		t.Errorf("%+v", o)
	}
}

// diesOfWork is a worker that is killed by the first batch that it gets.
func diesOfWork() {
	frame := func() {
		head := make([]byte, 4)
		if _, err := io.ReadFull(os.NewFile(3, ""), head); err != nil {
			os.Exit(0)
		}
		_, _ = io.CopyN(io.Discard, os.NewFile(3, ""), int64(binary.LittleEndian.Uint32(head)))
	}
	frame() // the columns
	about := `{"classes":[],"names":[],"probabilities":false}`
	_, _ = os.NewFile(3, "").Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(about))), about...))
	frame()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
