package parity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// SampleVersion is the version of the JSON of a sample.
const SampleVersion = 1

// A Sample is rows of the source with what training made of them. With it, a service proves on
// another machine that it computes the same.
type Sample struct {
	Version int       `json:"version"`
	Columns ir.Schema `json:"columns"` // of the features
	Rows    []Sampled `json:"rows"`
}

// A Sampled row.
type Sampled struct {
	Request  json.RawMessage `json:"request"`  // as a caller sends it
	Features []*string       `json:"features"` // of training; nil is null, and floats are hexadecimal
	Outputs  []string        `json:"outputs"`  // of the model, as hexadecimal floats
}

// Choose takes at most that many rows of the source, from all parts of it, computes them as the service does, and compares
// the features with those of training. The step is that of [Run]. The predictions are those of
// m, which Run has compared with Python.
func Choose(ctx context.Context, s *step.Step, m Predictor, most int) (*Sample, error) {
	var p params
	if err := json.Unmarshal(s.Params, &p); err != nil {
		return nil, fmt.Errorf("parameters of %s: %w", s.Component, err)
	}
	c := &comparison{step: s, private: p.Private, counts: Counts{Differences: map[Kind]int64{}}}
	c.model = m
	if err := c.prepare(ctx, p.Request); err != nil {
		return nil, err
	}
	c.model = nil // predictions are made here
	if c.features.History() != nil {
		return nil, errors.New("features of a history depend on the rows before, of which a sample has none")
	}
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	columns, err := c.source()
	if err != nil {
		return nil, err
	}
	r, err := table.Open(s.Inputs["source"].Path, columns)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	sample := &Sample{Version: SampleVersion}
	for _, i := range c.served() {
		sample.Columns = append(sample.Columns, ir.Column{Name: c.compared[i].Name, Type: c.compared[i].Type, Nullable: true})
	}
	w := c.worker()
	every := max((r.Rows()+int64(most)-1)/int64(most), 1)
	var rows table.Batch
	for first := int64(1); ; first += int64(rows.Len()) {
		err := r.Read(ctx, &rows, batch)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		for i := range rows.Len() {
			if (first+int64(i)-1)%every != 0 {
				continue
			}
			row, err := w.sample(ctx, m, rows.Row(i), first+int64(i))
			if err != nil {
				return nil, err
			}
			if row != nil {
				sample.Rows = append(sample.Rows, *row)
			}
		}
	}
	c.counts.add(&w.counts)
	c.counts.sort()
	return sample, c.counts.err()
}

// served are the compared columns that the service computes.
func (c *comparison) served() (indices []int) {
	for i, x := range c.compared {
		if x.result < c.results {
			indices = append(indices, i)
		}
	}
	return indices
}

// oneRow is a part of one row.
type oneRow []rowsql.Value

func (r oneRow) Len() int               { return 1 }
func (r oneRow) Row(int) []rowsql.Value { return r }

// sample computes a row. It returns nil for one that the service refuses, that no request can
// contain or that training leaves out.
func (w *worker) sample(ctx context.Context, m Predictor, source []rowsql.Value, number int64) (*Sampled, error) {
	before, stale := w.counts.Compared, w.counts.Stale
	if err := w.part(ctx, &part{rows: oneRow(source), first: number}); err != nil {
		return nil, err
	}
	if len(w.sent) == 0 || w.counts.Compared == before || w.counts.Stale > stale {
		return nil, nil
	}
	out := &Sampled{}
	var body struct {
		Instances []json.RawMessage `json:"instances"`
	}
	if err := json.Unmarshal(w.body, &body); err != nil {
		return nil, err
	}
	out.Request = body.Instances[0]
	for _, i := range w.served() {
		out.Features = append(out.Features, written(w.compared[i].Type, w.want[i]))
	}
	var reads []rowsql.Value
	for _, col := range m.Columns() {
		i := slices.IndexFunc(w.compared, func(x compared) bool { return x.Name == col.Name })
		reads = append(reads, w.want[i])
	}
	outputs := make([]float64, m.Outputs())
	var refused *model.RowError
	switch err := m.Predict(ctx, reads, outputs, &w.buffer); {
	case errors.As(err, &refused):
		return nil, nil
	case err != nil:
		return nil, err
	}
	for _, v := range outputs {
		out.Outputs = append(out.Outputs, hex(v, 64))
	}
	return out, nil
}

func hex(v float64, bits int) string { return strconv.FormatFloat(v, 'x', -1, bits) }

// written is a value as a text that keeps all of it.
func written(typ string, v rowsql.Value) *string {
	if v.Null {
		return nil
	}
	text := strconv.FormatInt(v.Int(), 10)
	switch typ {
	case "string":
		text = v.Text
	case "bytes":
		text = strconv.QuoteToASCII(v.Text)
	case "float64":
		text = hex(v.Float(), 64)
	case "float32":
		text = hex(float64(v.Float32()), 32)
	case "uint64":
		text = strconv.FormatUint(v.Bits, 10)
	}
	return &text
}

// read is the value of such a text.
func read(typ, text string) (v rowsql.Value, err error) {
	switch typ {
	case "string":
		return rowsql.String(text), nil
	case "bytes":
		text, err := strconv.Unquote(text)
		return rowsql.String(text), err
	case "float64":
		x, err := strconv.ParseFloat(text, 64)
		return rowsql.Float(x), err
	case "float32":
		x, err := strconv.ParseFloat(text, 32)
		return rowsql.Float32(float32(x)), err
	case "uint64":
		x, err := strconv.ParseUint(text, 10, 64)
		return rowsql.Uint(x), err
	}
	x, err := strconv.ParseInt(text, 10, 64)
	return rowsql.Int(x), err
}

// A Selftest is what a service computes of a sample.
type Selftest struct {
	Rows        int
	Equal       int
	Differences []Difference // the first ones
}

// Test sends a sample through a service. f is nil if a request has the columns of the model.
// Values of private columns are not shown.
func (x *Sample) Test(ctx context.Context, f *features.Features, m Predictor, private []string) (*Selftest, error) {
	if x.Version != SampleVersion {
		return nil, fmt.Errorf("the sample has version %d; this program reads %d", x.Version, SampleVersion)
	}
	t, err := newTester(x, f, m)
	if err != nil {
		return nil, err
	}
	found := &Selftest{Rows: len(x.Rows)}
	for i := range x.Rows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, err := t.row(ctx, &x.Rows[i])
		if err != nil {
			return nil, fmt.Errorf("row %d of the sample: %w", i+1, err)
		}
		if d == nil {
			found.Equal++
			continue
		}
		mask(d.Kind, d.Column, private, &d.Wanted, &d.Got)
		if d.Row = int64(i) + 1; len(found.Differences) < mostShown {
			found.Differences = append(found.Differences, *d)
		}
	}
	return found, nil
}

type tester struct {
	*Sample
	model    Predictor
	computer *features.Row
	decoder  *request.Decoder
	results  []int // of the service, for each column of the sample
	reads    []int // and for each column of the model
	rows     request.Rows
	buffer   model.Buffer
}

func newTester(x *Sample, f *features.Features, m Predictor) (*tester, error) {
	t := &tester{Sample: x, model: m}
	columns, results := m.Columns(), m.Columns()
	if f != nil {
		t.computer, columns, results = f.Row(), f.Columns(), f.Results()
	}
	for _, want := range []struct {
		columns ir.Schema
		at      *[]int
	}{{x.Columns, &t.results}, {m.Columns(), &t.reads}} {
		for _, c := range want.columns {
			i := slices.IndexFunc(results, func(r ir.Column) bool { return r.Name == c.Name && r.Type == c.Type })
			if i < 0 {
				return nil, fmt.Errorf("the service computes no column %s of the type %s", c.Name, c.Type)
			}
			*want.at = append(*want.at, i)
		}
	}
	var err error
	t.decoder, err = request.New(columns, 1)
	return t, err
}

// row returns the first difference of a row, or nil.
func (t *tester) row(ctx context.Context, x *Sampled) (*Difference, error) {
	if len(x.Features) != len(t.Columns) || len(x.Outputs) != t.model.Outputs() {
		return nil, errors.New("it has other columns than the sample")
	}
	body := slices.Concat([]byte(`{"instances":[`), x.Request, []byte(`]}`))
	if errs := t.decoder.Decode(body, &t.rows); len(errs) > 0 {
		return &Difference{Kind: Refused, Got: errs[0].Msg}, nil
	}
	results := t.rows.Row(0)
	if t.computer != nil {
		var err error
		var old *features.TooOldError
		results, old, err = t.computer.Results(results)
		switch {
		case err != nil:
			return &Difference{Kind: Refused, Got: err.Error()}, nil
		case old != nil:
			return &Difference{Kind: Refused, Got: old.Error()}, nil
		case results == nil:
			return &Difference{Kind: Refused, Got: "the query leaves it out"}, nil
		}
	}
	for i, c := range t.Columns {
		want := rowsql.Null
		if text := x.Features[i]; text != nil {
			var err error
			if want, err = read(c.Type, *text); err != nil {
				return nil, fmt.Errorf("column %s: %w", c.Name, err)
			}
		}
		if got := results[t.results[i]]; !equal(c.Type, got, want) {
			return &Difference{Kind: Cell, Column: c.Name, Wanted: shown(c, want), Got: shown(c, got)}, nil
		}
	}
	var reads []rowsql.Value
	for _, i := range t.reads {
		reads = append(reads, results[i])
	}
	return t.prediction(ctx, x, reads)
}

func (t *tester) prediction(ctx context.Context, x *Sampled, reads []rowsql.Value) (*Difference, error) {
	want, got := make([]float64, len(x.Outputs)), make([]float64, len(x.Outputs))
	for i, text := range x.Outputs {
		var err error
		if want[i], err = strconv.ParseFloat(text, 64); err != nil {
			return nil, err
		}
	}
	if err := t.model.Predict(ctx, reads, got, &t.buffer); err != nil {
		return &Difference{Kind: Refused, Got: err.Error()}, nil
	}
	most := 0.0
	if m, ok := t.model.(interface {
		Allowed(row []rowsql.Value, want []float64, b *model.Buffer) float64
	}); ok {
		most = m.Allowed(reads, want, &t.buffer)
	}
	for i := range want {
		if !model.Same(got[i], want[i], most) {
			return &Difference{Kind: Prediction, Wanted: fmt.Sprint(want), Got: fmt.Sprint(got)}, nil
		}
	}
	return nil, nil
}

// Err is the failure of a test, or nil.
func (s *Selftest) Err() error {
	if s.Equal == s.Rows {
		return nil
	}
	says := fmt.Sprintf("%d of %d rows of the sample are computed otherwise than in training", s.Rows-s.Equal, s.Rows)
	for _, d := range s.Differences {
		says += "\n  row " + strconv.FormatInt(d.Row, 10)
		switch d.Kind {
		case Refused:
			says += " is refused: " + d.Got
		case Prediction:
			says += ": the prediction: wanted " + d.Wanted + ", got " + d.Got
		default:
			says += ": column " + d.Column + ": wanted " + d.Wanted + ", got " + d.Got
		}
	}
	return errors.New(says)
}
