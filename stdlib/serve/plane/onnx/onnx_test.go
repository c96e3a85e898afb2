package onnx_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/pythontest"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/onnx"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// interpreter is that of the environment in which services load graphs.
func interpreter(t testing.TB) string {
	t.Helper()
	lock, err := fs.ReadFile(stdlib.Files(), "lib/onnx/requirements.lock")
	if err != nil {
		t.Fatal(err)
	}
	return pythontest.Interpreter(t, lock)
}

// A trained is a model of the example of train.pytorch, with rows and what it predicted for
// them in training.
type trained struct {
	model.Document
	Check struct {
		Rows    [][]json.RawMessage
		Outputs [][]string
	}
}

func read(t testing.TB, name string) trained {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name, "plane.json"))
	if err != nil {
		t.Fatal(err)
	}
	var x trained
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	return x
}

func open(t testing.TB, x trained, name, python string) (*model.Model, error) {
	t.Helper()
	model.OpenGraph = onnx.Open
	m, err := model.New(x.Document)
	if err != nil {
		t.Fatal(err)
	}
	return m, m.Open(filepath.Join("testdata", name), python)
}

// values are the rows of a check, and the outputs that are wanted.
func values(t testing.TB, x trained) (rows []rowsql.Value, outputs []float64) {
	t.Helper()
	var columns ir.Schema
	for _, c := range x.Columns {
		columns = append(columns, ir.Column{Name: c.Name, Type: c.Type, Nullable: true})
	}
	d, err := request.New(columns, len(x.Check.Rows))
	if err != nil {
		t.Fatal(err)
	}
	var instances []map[string]json.RawMessage
	for _, row := range x.Check.Rows {
		instance := map[string]json.RawMessage{}
		for i, v := range row {
			instance[columns[i].Name] = v
		}
		instances = append(instances, instance)
	}
	body, err := json.Marshal(map[string]any{"instances": instances})
	if err != nil {
		t.Fatal(err)
	}
	var decoded request.Rows
	if errs := d.Decode(body, &decoded); len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, row := range x.Check.Outputs {
		for _, text := range row {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			outputs = append(outputs, v)
		}
	}
	return decoded.Values, outputs
}

// Several goroutines ask one graph for different numbers of rows, and each gets what training
// got in Python.
func TestPredictionsAreThoseOfTraining(t *testing.T) {
	python := interpreter(t)
	for _, name := range []string{"classification", "quantized", "regression"} {
		t.Run(name, func(t *testing.T) {
			x := read(t, name)
			m, err := open(t, x, name, python)
			if err != nil {
				t.Fatal(err)
			}
			rows, wanted := values(t, x)
			columns, n := len(x.Columns), m.Outputs()
			total := len(wanted) / n
			var wg sync.WaitGroup
			for size := range 8 {
				wg.Go(func() {
					var b model.Buffer
					for at := 0; at < total; at += size + 1 {
						until := min(at+size+1, total)
						got := make([]float64, (until-at)*n)
						if err := m.Predict(t.Context(), rows[at*columns:until*columns], got, &b); err != nil {
							t.Errorf("rows from %d on: %v", at, err)
							return
						}
						for i, v := range got {
							want := wanted[at*n+i]
							if !model.Same(v, want, m.Allowed(nil, []float64{want}, &b)) {
								t.Errorf("row %d: %v, wanted %v", at+i/n, v, want)
							}
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// The prediction of a quantized graph for a row does not depend on the other rows of a request.
func TestAQuantizedGraphSeesOneRowAtATime(t *testing.T) {
	x := read(t, "quantized")
	m, err := open(t, x, "quantized", interpreter(t))
	if err != nil {
		t.Fatal(err)
	}
	rows, wanted := values(t, x)
	columns, n := len(x.Columns), m.Outputs()
	together, alone := make([]float64, len(wanted)), make([]float64, n)
	var b model.Buffer
	if err := m.Predict(t.Context(), rows, together, &b); err != nil {
		t.Fatal(err)
	}
	for i := range len(wanted) / n {
		if err := m.Predict(t.Context(), rows[i*columns:(i+1)*columns], alone, &b); err != nil {
			t.Fatal(err)
		}
		for j, v := range alone {
			if v != together[i*n+j] {
				t.Errorf("row %d: %v alone, %v with others", i, v, together[i*n+j])
			}
		}
	}
}

func TestWhatCannotBeLoaded(t *testing.T) {
	python := interpreter(t)
	for name, tt := range map[string]struct {
		change func(*trained)
		python string
		want   string
	}{
		"another graph than the one that was proven": {func(x *trained) { x.ONNX.Digest = "sha256:0" }, python, "model.onnx has the digest sha256:"},
		"an environment without ONNX Runtime":        {nil, "/nowhere/bin/python", "the environment /nowhere has no ONNX Runtime"},
		"a graph for a newer ONNX Runtime":           {func(x *trained) { x.ONNX.Runtime = "1.100.0" }, python, "the model was made with ONNX Runtime 1.100.0, and the environment has "},
		"no file":                                    {func(x *trained) { x.ONNX.File = "other.onnx" }, python, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			x := read(t, "regression")
			if tt.change != nil {
				tt.change(&x)
			}
			if _, err := open(t, x, "regression", tt.python); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, wanted %s", err, tt.want)
			}
		})
	}
}

// A graph that gives other numbers than its document says fails, and writes nowhere else.
func TestAGraphOfAnotherShape(t *testing.T) {
	x := read(t, "regression")
	x.ONNX.Outputs, x.Task, x.Classes = 3, "classification", []json.RawMessage{[]byte(`"a"`), []byte(`"b"`), []byte(`"c"`)}
	m, err := open(t, x, "regression", interpreter(t))
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := values(t, x)
	if err := m.Predict(t.Context(), rows[:len(x.Columns)], make([]float64, 3), &model.Buffer{}); err == nil {
		t.Error("it predicted")
	}
}

func BenchmarkOneRow(b *testing.B) {
	x := read(b, "classification")
	m, err := open(b, x, "classification", interpreter(b))
	if err != nil {
		b.Fatal(err)
	}
	rows, _ := values(b, x)
	out := make([]float64, m.Outputs())
	var buffer model.Buffer
	for b.Loop() {
		if err := m.Predict(b.Context(), rows[:len(x.Columns)], out, &buffer); err != nil {
			b.Fatal(err)
		}
	}
}

// The memory of a graph is given back once nothing refers to it, as when a version is removed.
func TestAGraphThatNothingUsesIsFreed(t *testing.T) {
	python := interpreter(t)
	names, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	x := read(t, names[0].Name())
	freed := onnx.Freed(t)
	func() {
		_, err := onnx.Open(x.ONNX, filepath.Join("testdata", names[0].Name(), x.ONNX.File), python)
		if err != nil {
			t.Fatal(err)
		}
	}()
	for began := time.Now(); ; {
		runtime.GC()
		select {
		case err := <-freed:
			if err != nil {
				t.Error(err)
			}
			return
		case <-time.After(10 * time.Millisecond):
			if time.Since(began) > 10*time.Second {
				t.Fatal("it is still there")
			}
		}
	}
}
