package parity_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/cmd/tenon-duck/program"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// This binary is tenon-duck and the Python of a model as well.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "steps" {
		os.Exit(program.Run(os.Args[1:]))
	}
	if len(os.Args) == 4 && filepath.Base(os.Args[1]) == "tenon_parity.py" {
		if err := predictLikePython(os.Args[2]); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// predictLikePython predicts 1.25 more than ten times the age for each row, or 1.
func predictLikePython(to string) error {
	s, err := step.Read()
	if err != nil {
		return err
	}
	in := s.Inputs["features"]
	var b []byte
	err = eachRow(in.Path, in.Schema, func(row []rowsql.Value) {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(predicted(row)))
	})
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// eachRow calls f for the rows of a table.
func eachRow(path string, columns ir.Schema, f func(row []rowsql.Value)) error {
	r, err := table.Open(path, columns)
	if err != nil {
		return err
	}
	defer r.Close()
	var b table.Batch
	for {
		err := r.Read(context.Background(), &b, 100)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range b.Len() {
			f(b.Row(i))
		}
	}
}

// predicted is what the model predicts for a ratio and an age.
func predicted(row []rowsql.Value) float64 {
	if row[1].Null {
		return 1
	}
	return 1.25 + 10*float64(row[1].Int())
}

// A replay is the log of a shop, and how it is computed again.
type replay struct {
	*shop
	ask     requests.Replay
	head    requestlog.Head
	log     *requestlog.Log
	row     *features.Row
	history *features.History // nil if there is none
	got     []requests.Differing
	sum     requests.Replayed
}

// newReplay prepares a replay of a query without some columns of the features' keys.
func newReplay(t *testing.T, query string, keys []string, change func(*replay)) *replay {
	s := newShop(t, query)
	r := &replay{shop: s}
	if s.spec.Plans[0].Windows() > 0 {
		s.spec.History = &features.HistorySpec{Port: "history", Columns: orders.Schema[:5], Keys: []string{"id"}, Late: "1h"}
		s.step.Inputs["history"], s.step.Kept = s.step.Inputs["source"], t.TempDir()
	}
	prune(s) // as the compiler does
	columns := s.model.Columns()
	b, err := json.Marshal(s.spec)
	if err != nil {
		t.Fatal(err)
	}
	f, err := features.Load(t.Context(), s.step, s.spec, columns)
	if err != nil {
		t.Fatal(err)
	}
	r.row, r.history = f.Row(), f.History()
	r.head = requestlog.Head{Unit: "deployments/api", Inputs: map[string]string{"model": "sha256:m"}, Contract: ir.Sum(b), Request: s.spec.Columns, Features: columns, Label: ir.Column{Name: "y", Type: "float64"}}
	feature := s.step.Inputs["features"]
	model := t.TempDir() // the Python of these tests needs no file of it
	digest, err := artifact.Digest(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	r.ask = requests.Replay{
		Model: step.Port{Kind: ir.Model, Path: model, Digest: digest},
		Log:   filepath.Join(s.dir, "log"), Kept: s.step.Kept, Inputs: map[string]string{"model": "sha256:m"}, Request: b, Source: s.step.Inputs["source"], Duck: os.Args[0], Python: os.Args[0], Library: s.dir, Scratch: t.TempDir(),
		Queries: []requests.Query{{Row: "o", Step: step.Step{
			Version: step.Version, Unit: "features/f", Component: "feature.sql", Params: params(t, map[string]any{"sql": query}),
			Inputs:  map[string]step.Port{"o": s.step.Inputs["source"], "c": s.step.Inputs["lookup_c"], "p": s.step.Inputs["lookup_p"]},
			Outputs: map[string]step.Port{"out": {Kind: ir.Table, Schema: feature.Schema, Keys: keys}},
		}}},
	}
	if change != nil {
		change(r)
	}
	if r.log, err = requestlog.Open(requestlog.Options{Dir: r.ask.Log, Head: r.head, Sample: 1}); err != nil {
		t.Fatal(err)
	}
	return r
}

// answer logs what the service computes for rows of requests, after a change of it.
func (r *replay) answer(id string, change func(row int, features []rowsql.Value, outputs []float64), rows ...[]rowsql.Value) {
	r.Helper()
	logged := requestlog.Request{ID: id, Began: time.Now(), Rows: len(rows)}
	for i, row := range rows {
		values, outputs := make([]rowsql.Value, len(r.head.Features)), make([]float64, 1)
		if kept, err := r.row.Compute(row, values, make([]rowsql.Value, 8)); err != nil || !kept {
			r.Fatalf("row %d: it is kept: %v, %v", i, kept, err)
		}
		outputs[0] = predicted(values)
		logged.Positions = append(logged.Positions, r.row.Position())
		if change != nil {
			change(i, values, outputs)
		}
		logged.Values, logged.Features, logged.Outputs = append(logged.Values, row...), append(logged.Features, values...), append(logged.Outputs, outputs...)
	}
	r.log.Add(&logged)
}

// run replays.
func (r *replay) run() {
	r.Helper()
	r.log.Close(10 * time.Second)
	err := parity.RunReplay(r.Context(), &r.ask, func(e requests.Event) error {
		if e.Difference != nil {
			r.got = append(r.got, *e.Difference)
		}
		if e.Replayed != nil {
			r.sum = *e.Replayed
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
}

// order is the request for the order of a number.
func (r *replay) order(n int64) []rowsql.Value {
	all := map[string]rowsql.Value{
		"id": rowsql.Int(n), "customer": rowsql.String("k" + string(rune('0'+n%10))), "item": rowsql.Int(n % 7),
		"at": rowsql.Int(1_706_000_000_000_000 + n*1_000_003), "weight": rowsql.Float(float64(n) / 3), "paid": rowsql.Float(3),
	}
	var row []rowsql.Value
	for _, c := range r.head.Request {
		row = append(row, all[c.Name])
	}
	return row
}

func TestReplayFindsNoDifferenceWhereThereIsNone(t *testing.T) {
	for name, keys := range map[string][]string{"by keys": {"id"}, "row by row": nil} {
		t.Run(name, func(t *testing.T) {
			r := newReplay(t, filtered, keys, nil)
			for n := range int64(12) {
				r.answer("r", nil, r.order(n%5), r.order(n)) // orders repeat
			}
			r.run()
			if r.sum.Rows != 24 || r.sum.Cells != 48 || r.sum.Predictions != 24 || len(r.got) > 0 {
				t.Errorf("it found %+v, %+v", r.sum, r.got)
			}
		})
	}
}

func TestReplayFindsEveryDifference(t *testing.T) {
	for name, keys := range map[string][]string{"by keys": {"id"}, "row by row": nil} {
		t.Run(name, func(t *testing.T) {
			r := newReplay(t, filtered, keys, nil)
			r.answer("good", nil, r.order(1), r.order(2))
			r.answer("cell", func(row int, f []rowsql.Value, _ []float64) {
				if row == 1 {
					f[0] = rowsql.Float(math.Nextafter(f[0].Float(), 100))
				}
			}, r.order(3), r.order(4), r.order(4))
			r.answer("prediction", func(_ int, _ []rowsql.Value, o []float64) { o[0] *= 1 + 2e-6 }, r.order(5))
			// A model in Python may add in another order.
			r.answer("rounding", func(_ int, _ []rowsql.Value, o []float64) { o[0] *= 1 + 1e-9 }, r.order(6))
			r.run()
			if r.sum.Rows != 7 || r.sum.Differing != 2 || r.sum.Columns["ratio"] != 1 || len(r.got) != 2 {
				t.Fatalf("it found %+v, %+v", r.sum, r.got)
			}
			slices.SortFunc(r.got, func(a, b requests.Differing) int { return strings.Compare(a.RequestID, b.RequestID) })
			if d := r.got[0]; d.RequestID != "cell" || d.Row != 1 || d.Kind != "cells" || d.Column != "ratio" || d.Wanted == d.Got {
				t.Errorf("it found %+v", d)
			}
			if d := r.got[1]; d.RequestID != "prediction" || d.Kind != "predictions" || d.Wanted == d.Got {
				t.Errorf("it found %+v", d)
			}
		})
	}
}

// The keys of the features need not be those of the source: then rows are found one by one.
func TestReplayDoesNotTrustKeys(t *testing.T) {
	swapped := strings.Replace(filtered, "o.id,", "2001 - o.id AS id,", 1)
	r := newReplay(t, swapped, []string{"id"}, nil)
	r.answer("a", nil, r.order(1000), r.order(1001)) // each has the key of the other
	r.answer("b", nil, r.order(7))
	r.run()
	if r.sum.Rows != 3 || len(r.got) > 0 {
		t.Errorf("it found %+v, %+v", r.sum, r.got)
	}
}

func TestReplayCountsWhatItCannotCompare(t *testing.T) {
	r := newReplay(t, filtered, []string{"id"}, func(r *replay) { r.head.Private = []string{"age"} })
	r.answer("a", func(_ int, f []rowsql.Value, _ []float64) { f[1] = rowsql.Null }, r.order(1))
	r.run()
	if r.sum.Rows != 1 || r.sum.Cells != 1 || r.sum.Predictions != 1 || len(r.got) > 0 || len(r.sum.Notes) != 1 {
		t.Errorf("a private feature: it found %+v, %+v", r.sum, r.got)
	}
	r = newReplay(t, filtered, []string{"id"}, func(r *replay) { r.head.Private = []string{"customer"} })
	r.answer("a", nil, r.order(1), r.order(2))
	r.run()
	if r.sum.Rows != 0 || r.sum.Redacted != 2 {
		t.Errorf("a private column of requests: it found %+v", r.sum)
	}
	r = newReplay(t, filtered, []string{"id"}, func(r *replay) { r.head.Inputs = map[string]string{"model": "sha256:other"} })
	r.answer("a", nil, r.order(1))
	r.run()
	if r.sum.Rows != 0 || r.sum.Other != 1 {
		t.Errorf("another model: it found %+v", r.sum)
	}
}

func TestReplayLimitsRows(t *testing.T) {
	r := newReplay(t, filtered, []string{"id"}, func(r *replay) { r.ask.Limit = 2 })
	r.answer("a", nil, r.order(1), r.order(2), r.order(3))
	r.run()
	if r.sum.Rows != 2 {
		t.Errorf("it found %+v", r.sum)
	}
	r = newReplay(t, filtered, []string{"id"}, func(r *replay) { r.ask.Since = time.Now().Add(time.Hour) })
	r.answer("a", nil, r.order(1))
	r.run()
	if r.sum.Rows != 0 {
		t.Errorf("it found %+v", r.sum)
	}
}

// A deployment without request has the columns of the model.
func TestReplayOfAModelAlone(t *testing.T) {
	r := newReplay(t, filtered, nil, func(r *replay) {
		r.ask.Request, r.ask.Queries, r.head.Contract = nil, nil, ""
		r.head.Request, r.head.Features = r.head.Features, nil
	})
	for _, wrong := range []float64{0, 0.5} {
		r.log.Add(&requestlog.Request{ID: "a", Began: time.Now(), Rows: 1, Values: []rowsql.Value{rowsql.Float(2), rowsql.Int(4)}, Outputs: []float64{41.25 + wrong}})
	}
	r.run()
	if r.sum.Rows != 2 || r.sum.Predictions != 2 || r.sum.Differing != 1 || len(r.got) != 1 || r.got[0].Got != "41.75" {
		t.Errorf("it found %+v, %+v", r.sum, r.got)
	}
}

// A check of a running service has private columns, and does not show them.
func TestReplayMasksPrivateColumns(t *testing.T) {
	r := newReplay(t, filtered, []string{"id"}, func(r *replay) { r.ask.Private = []string{"ratio"} })
	r.answer("a", func(_ int, f []rowsql.Value, _ []float64) { f[0], f[1] = rowsql.Float(-7), rowsql.Int(-8) }, r.order(1))
	r.run()
	if len(r.got) != 2 || r.sum.Differing != 1 {
		t.Fatalf("it found %+v, %+v", r.sum, r.got)
	}
	for _, d := range r.got {
		if private := d.Wanted == "(private)" && d.Got == "(private)"; private != (d.Column == "ratio") {
			t.Errorf("it found %+v", d)
		}
	}
}

func TestReplayWithoutPython(t *testing.T) {
	r := newReplay(t, filtered, []string{"id"}, func(r *replay) { r.ask.Python = "" })
	r.answer("a", func(_ int, f []rowsql.Value, o []float64) { f[1], o[0] = rowsql.Int(-8), 99 }, r.order(1))
	r.run()
	if r.sum.Rows != 1 || r.sum.Predictions != 0 || len(r.got) != 1 || r.got[0].Column != "age" || len(r.sum.Notes) != 1 || !strings.Contains(r.sum.Notes[0], "predictions are not compared") {
		t.Errorf("it found %+v, %+v", r.sum, r.got)
	}
}
