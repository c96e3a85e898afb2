package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// An ONNX is the part of a document about a model that ONNX Runtime evaluates: a graph from
// the numbers of rows to their predictions, both float64.
type ONNX struct {
	File      string  `json:"file"`   // in the folder of the model
	Digest    string  `json:"digest"` // of the file
	Inputs    int     `json:"inputs"` // numbers of a row
	Outputs   int     `json:"outputs"`
	Rows      int     `json:"rows"`      // at a time, at most; 1 if the prediction of a row depends on the others
	Runtime   string  `json:"runtime"`   // version of ONNX Runtime for which the model was proven
	Tolerance float64 `json:"tolerance"` // of a prediction, relative to the larger of it and Scale
	Scale     float64 `json:"scale"`     // 1, or that of the labels if it is larger
}

// A Graph is safe for concurrent use.
type Graph interface {
	// Run writes the outputs for the numbers of one row or more, and keeps memory in *scratch
	// for the next call of the same goroutine.
	Run(numbers, outputs []float64, scratch *any) error
}

// OpenGraph loads a graph. It is nil in programs without C libraries. python is the interpreter
// of an environment that has ONNX Runtime.
var OpenGraph func(o *ONNX, file, python string) (Graph, error)

// errNoRuntime is what a program says that cannot evaluate a graph.
var errNoRuntime = errors.New("this program has no ONNX Runtime")

func (o *ONNX) check() error {
	switch {
	case !filepath.IsLocal(o.File):
		return fmt.Errorf("the graph is in %q, which is not in the folder of the model", o.File)
	case o.Inputs < 1 || o.Outputs < 1 || o.Rows < 1:
		return fmt.Errorf("the graph has %d inputs and %d outputs for %d rows", o.Inputs, o.Outputs, o.Rows)
	case !(o.Tolerance > 0 && o.Tolerance <= 1e-6):
		return fmt.Errorf("the graph has the tolerance %v", o.Tolerance)
	case !(o.Scale >= 1) || math.IsInf(o.Scale, 0):
		return fmt.Errorf("the graph has the scale %v", o.Scale)
	}
	return nil
}

// Open loads the graph of a model in a folder, if it has one. Without it, such a model predicts
// nothing.
func (m *Model) Open(folder, python string) error {
	if m.doc.ONNX == nil {
		return nil
	}
	if OpenGraph == nil {
		return errNoRuntime
	}
	var err error
	m.graph, err = OpenGraph(m.doc.ONNX, filepath.Join(folder, m.doc.ONNX.File), python)
	return err
}

// evaluate makes the predictions for rows by the graph.
func (m *Model) evaluate(ctx context.Context, rows []rowsql.Value, outputs []float64, b *Buffer) error {
	if m.graph == nil {
		return errNoRuntime
	}
	o := m.doc.ONNX
	columns, total := len(m.doc.Columns), len(outputs)/o.Outputs
	for done := 0; done < total; done += o.Rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(o.Rows, total-done)
		b.graph.numbers = b.graph.numbers[:0]
		for i := done; i < done+n; i++ {
			x, err := m.numbers(rows[i*columns:(i+1)*columns], b)
			if err != nil {
				return &RowError{i, err}
			}
			b.graph.numbers = append(b.graph.numbers, x...)
		}
		if err := m.graph.Run(b.graph.numbers, outputs[done*o.Outputs:(done+n)*o.Outputs], &b.graph.scratch); err != nil {
			return err
		}
	}
	return nil
}

// graphBuffer is memory for a graph.
type graphBuffer struct {
	numbers []float64
	scratch any
}

// allowed returns how far outputs may be from those wanted.
func (o *ONNX) allowed(want []float64) float64 {
	most := o.Scale
	for _, x := range want {
		if !math.IsInf(x, 0) {
			most = max(most, math.Abs(x))
		}
	}
	return o.Tolerance * most
}
