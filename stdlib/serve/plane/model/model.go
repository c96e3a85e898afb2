// Package model asks a model that was exported as plain data: it makes numbers of typed
// rows as the trainer did, evaluates them, and names the prediction. It needs no Python.
package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/linear"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/trees"
)

// Version is the version of the JSON of a document. Documents of version 1 have neither steps
// nor linear models, those of version 2 no graphs, and are still read.
const Version = 3

// A Document is an exported model, as tenon_plane.py writes it.
type Document struct {
	Version  int               `json:"version"`
	Task     string            `json:"task"`    // "classification" or "regression"
	Columns  ir.Schema         `json:"columns"` // of a row
	Features []Feature         `json:"features"`
	Steps    []Step            `json:"steps,omitempty"`   // what is computed of the features
	Reads    []int             `json:"reads,omitempty"`   // registers that the trees or the linear model read; nil for all features
	Classes  []json.RawMessage `json:"classes,omitempty"` // of a classification, in the order of its probabilities
	Trees    *trees.Model      `json:"trees,omitempty"`
	Linear   *linear.Model     `json:"linear,omitempty"` // instead of trees
	ONNX     *ONNX             `json:"onnx,omitempty"`   // instead of both
}

// A Feature is a number that is made of a column.
type Feature struct {
	Column     int      `json:"column"`
	As         Form     `json:"as"`
	Categories []string `json:"categories,omitempty"` // of Category: in the order of their numbers; of Text: all others are missing
	Category   *string  `json:"category,omitempty"`   // of OneHot; nil is null
	Missing    *float64 `json:"missing,omitempty"`    // instead of null
}

// A Form says how a column becomes a number.
type Form string

const (
	Number   Form = "number"   // itself; true is 1
	Category Form = "category" // the position in Categories; any other value is missing
	OneHot   Form = "onehot"   // 1 if it is Category
	Years    Form = "years"    // of dates and timestamps: since 2000
	Seconds  Form = "seconds"  // of a time
	Nothing  Form = "nothing"  // 0
	Text     Form = "text"     // stays a text, for steps
)

// A Model is safe for concurrent use.
type Model struct {
	doc      Document
	ensemble *trees.Ensemble
	linear   *linear.Linear // if there is no ensemble
	graph    Graph          // if there is neither, see Open
	features []feature
	program  program
	names    []string // of the classes, as JSON strings
	positive int      // index of the class true, or -1
	narrow   bool     // the trees read float32
}

type feature struct {
	Feature
	kind     byte // of the column: 'b', 'i', 'u', 'f' (float32), 'd', 's', 't'
	scale    float64
	codes    map[string]float64
	missing  float64
	category string
}

// A ValueError is a value that the model cannot take.
type ValueError struct {
	Column string
	Reason string
}

func (e *ValueError) Error() string { return fmt.Sprintf("column %s: %s", e.Column, e.Reason) }

// New checks a document.
func New(doc Document) (*Model, error) {
	if doc.Version < 1 || doc.Version > Version {
		return nil, fmt.Errorf("the exported model has version %d; this tenon reads %d", doc.Version, Version)
	}
	m := &Model{doc: doc, positive: slices.IndexFunc(doc.Classes, func(c json.RawMessage) bool { return string(c) == "true" })}
	if err := m.newEstimator(); err != nil {
		return nil, err
	}
	if n := m.Outputs(); doc.Task == "classification" && len(doc.Classes) != n || doc.Task != "classification" && n != 1 {
		return nil, fmt.Errorf("the model gives %d numbers for a %s of %d classes", n, doc.Task, len(doc.Classes))
	}
	for _, c := range doc.Classes {
		name := string(c)
		if name[0] != '"' {
			name = strconv.Quote(name)
		}
		m.names = append(m.names, name)
	}
	for i, f := range doc.Features {
		if f.Column < 0 || f.Column >= len(doc.Columns) {
			return nil, fmt.Errorf("feature %d is made of column %d of %d", i, f.Column, len(doc.Columns))
		}
		x, err := newFeature(f, doc.Columns[f.Column])
		if err != nil {
			return nil, fmt.Errorf("feature %d: %w", i, err)
		}
		m.features = append(m.features, x)
	}
	if err := m.newProgram(doc.Steps); err != nil {
		return nil, err
	}
	return m, m.checkReads()
}

// newEstimator makes the trees or the linear model ready.
func (m *Model) newEstimator() error {
	var err error
	given := 0
	for _, there := range []bool{m.doc.Trees != nil, m.doc.Linear != nil, m.doc.ONNX != nil} {
		if there {
			given++
		}
	}
	switch {
	case given != 1:
		return errors.New("the exported model wants one of trees, a linear model or a graph")
	case m.doc.ONNX != nil:
		return m.doc.ONNX.check()
	case m.doc.Linear != nil:
		m.linear, err = linear.New(*m.doc.Linear)
		m.doc.Linear = nil
		return err
	}
	if m.ensemble, err = trees.New(*m.doc.Trees); err != nil {
		return err
	}
	m.narrow = m.doc.Trees.Float32 || m.doc.Trees.Rule == trees.XGBoost
	without := *m.doc.Trees
	without.Trees = nil // the ensemble has them
	m.doc.Trees = &without
	return nil
}

// checkReads checks what the trees or the linear model read.
func (m *Model) checkReads() error {
	if m.doc.Steps == nil && m.doc.Reads == nil {
		for i := range m.features {
			m.doc.Reads = append(m.doc.Reads, i)
		}
	}
	wanted := 0
	switch {
	case m.doc.ONNX != nil:
		wanted = m.doc.ONNX.Inputs
	case m.linear != nil:
		wanted = m.linear.Features()
	default:
		wanted = m.ensemble.Features()
	}
	if len(m.doc.Reads) != wanted {
		return fmt.Errorf("the model reads %d numbers of %d", wanted, len(m.doc.Reads))
	}
	for _, r := range m.doc.Reads {
		if r < 0 || r >= len(m.program.origins) || m.program.text[r] {
			return fmt.Errorf("the model reads register %d, which has no number", r)
		}
	}
	return nil
}

var kinds = map[string]byte{
	"bool": 'b', "int8": 'i', "int16": 'i', "int32": 'i', "int64": 'i', "uint8": 'u', "uint16": 'u', "uint32": 'u', "uint64": 'u',
	"float32": 'f', "float64": 'd', "string": 's', "date": 't', "time": 't', "timestamp": 't', "timestamptz": 't',
}

func newFeature(f Feature, c ir.Column) (feature, error) {
	x := feature{Feature: f, kind: kinds[c.Type], missing: math.NaN()}
	if f.Missing != nil {
		x.missing = *f.Missing
	}
	var fits bool
	switch f.As {
	case Nothing:
		fits = true
	case Number:
		fits = x.kind != 's' && x.kind != 't' && x.kind != 0
	case Category, Text:
		fits = x.kind == 's'
		if f.As == Category || f.Categories != nil {
			x.codes = map[string]float64{}
		}
		for i, v := range f.Categories {
			x.codes[v] = float64(i)
		}
	case OneHot:
		fits = x.kind == 's'
		if f.Category != nil {
			x.category = *f.Category
		}
	case Years:
		fits = c.Type == "date" || c.Type == "timestamp" || c.Type == "timestamptz"
		x.scale = 1
		if c.Type == "date" {
			x.scale = 86_400_000_000
		}
	case Seconds:
		fits = c.Type == "time"
	}
	if !fits {
		return x, fmt.Errorf("a column of type %s cannot become a %q", c.Type, f.As)
	}
	return x, nil
}

// Columns are those of a row.
func (m *Model) Columns() ir.Schema { return m.doc.Columns }

// Classes are those of a classification, as JSON.
func (m *Model) Classes() []json.RawMessage { return m.doc.Classes }

// ClassNames are the classes as JSON strings.
func (m *Model) ClassNames() []string { return m.names }

// Probabilities reports whether predictions are probabilities of classes.
func (m *Model) Probabilities() bool { return len(m.doc.Classes) > 0 }

// A Buffer is memory for predictions, which one goroutine uses again and again.
type Buffer struct {
	registers     []float64 // of one row: its features, and what the steps make of them
	reads         []float64 // those that the trees or the linear model read
	scratch       trees.Scratch
	contributions []float64 // of one row, to all sums
	explain       trees.ExplainScratch
	graph         graphBuffer
}

// A RowError is a row that has no prediction.
type RowError struct {
	Row int // from 0
	Err error
}

func (e *RowError) Error() string { return fmt.Sprintf("row %d: %v", e.Row, e.Err) }

func (e *RowError) Unwrap() error { return e.Err }

// Outputs is how many numbers a prediction is: the probabilities of the classes, or one.
func (m *Model) Outputs() int {
	if m.doc.ONNX != nil {
		return m.doc.ONNX.Outputs
	}
	if m.linear != nil {
		return m.linear.Outputs()
	}
	return m.ensemble.Outputs()
}

// Predict makes the predictions for rows, which follow one another, and writes the
// [Model.Outputs] of each into outputs. An error is a [*RowError] of a [*ValueError].
func (m *Model) Predict(ctx context.Context, rows []rowsql.Value, outputs []float64, b *Buffer) error {
	if m.doc.ONNX != nil {
		return m.evaluate(ctx, rows, outputs, b)
	}
	columns, n := len(m.doc.Columns), m.Outputs()
	for i := range len(outputs) / n {
		x, err := m.numbers(rows[i*columns:(i+1)*columns], b)
		if err != nil {
			return &RowError{i, err}
		}
		if m.linear != nil {
			m.linear.Predict(x, outputs[i*n:(i+1)*n])
		} else {
			m.ensemble.Predict(x, outputs[i*n:(i+1)*n], &b.scratch)
		}
	}
	return nil
}

// Allowed returns how far each output of a row may be from the one wanted: 0 for trees, which
// are equal to the last bit.
func (m *Model) Allowed(row []rowsql.Value, want []float64, b *Buffer) float64 {
	if m.doc.ONNX != nil {
		return m.doc.ONNX.allowed(want)
	}
	if m.linear == nil {
		return 0
	}
	x, err := m.numbers(row, b)
	if err != nil {
		return 0
	}
	return m.linear.Allowed(x, want)
}

// Same reports whether an output is the one wanted, or no farther from it than is allowed.
func Same(got, want, allowed float64) bool {
	return math.Float64bits(got) == math.Float64bits(want) || math.IsNaN(got) && math.IsNaN(want) || math.Abs(got-want) <= allowed && allowed > 0
}

// numbers makes the numbers that the trees or the linear model read of a row, in b.
func (m *Model) numbers(row []rowsql.Value, b *Buffer) ([]float64, error) {
	if b.registers == nil {
		b.registers, b.reads = make([]float64, len(m.program.origins)), make([]float64, len(m.doc.Reads))
	}
	for i := range m.features {
		f := &m.features[i]
		v, ok := f.number(&row[f.Column])
		if !ok {
			return nil, &ValueError{m.doc.Columns[f.Column].Name, "the model needs a float64, which cannot hold this integer"}
		}
		b.registers[i] = v
	}
	for _, step := range m.program.steps {
		if err := step(b.registers, row); err != nil {
			return nil, err
		}
	}
	for i, r := range m.doc.Reads {
		v := b.registers[r]
		switch {
		case m.narrow && math.IsInf(float64(float32(v)), 0):
			return nil, m.tooLarge(b.registers, r)
		case m.linear != nil && (math.IsNaN(v) || math.IsInf(v, 0)):
			return nil, m.whole(b.registers, r)
		}
		b.reads[i] = v
	}
	return b.reads, nil
}

// Class returns the index of the class that a row's outputs predict, and the probability that
// goes with it: of true if the classes are true and false, and otherwise of the predicted one.
func (m *Model) Class(outputs []float64) (class int, probability float64) {
	for i, p := range outputs {
		if p > outputs[class] {
			class = i
		}
	}
	if m.positive >= 0 {
		return class, outputs[m.positive]
	}
	return class, outputs[class]
}

// number makes the feature of a value. It fails for an integer that no float64 is.
func (f *feature) number(v *rowsql.Value) (x float64, ok bool) {
	switch f.As {
	case Nothing, Text:
		return 0, true
	case OneHot:
		if v.Null && f.Category == nil || !v.Null && f.Category != nil && v.Text == f.category {
			return 1, true
		}
		return 0, true
	}
	if v.Null {
		return f.missing, true
	}
	switch f.As {
	case Category:
		if code, ok := f.codes[v.Text]; ok {
			return code, true
		}
		return f.missing, true
	case Years:
		const start, year = 946_684_800_000_000, 31_557_600_000_000 // 2000-01-01, 365.25 days in microseconds
		return (float64(v.Int()*int64(f.scale) - start)) / year, true
	case Seconds:
		return float64(v.Int()) / 1_000_000, true
	}
	switch f.kind {
	case 'b':
		return float64(v.Bits), true
	case 'i':
		x = float64(v.Int())
		return x, x < 1<<63 && int64(x) == v.Int()
	case 'u':
		x = float64(v.Bits)
		return x, x < 1<<64 && uint64(x) == v.Bits
	case 'f':
		x = float64(v.Float32())
	default:
		x = v.Float()
	}
	if math.IsNaN(x) {
		return f.missing, true
	}
	return x, true
}
