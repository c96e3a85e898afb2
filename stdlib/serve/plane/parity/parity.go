package parity

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// params are the parameters of the step. It ignores those of the service.
type params struct {
	Request features.Spec `json:"request"`
	// Private are columns of which no value is shown.
	Private []string `json:"private"`
}

// batch is how many rows a request has.
const batch = 512

// A Predictor is the model of the service, as in package plane.
type Predictor interface {
	Columns() ir.Schema
	Classes() []json.RawMessage
	Outputs() int
	Probabilities() bool
	Class(outputs []float64) (class int, probability float64)
	Predict(ctx context.Context, rows []rowsql.Value, outputs []float64, b *model.Buffer) error
}

// Python is what predicts as in training.
type Python struct {
	Interpreter string // of the environment of the model
	Folder      string // the model, whose digest was checked
	Exact       bool   // the predictions of the service have to be equal, bit by bit

	Functions []features.Function // that features need
}

// Run compares. m is the model of the service; nil compares only the features.
func Run(ctx context.Context, s *step.Step, m Predictor, python Python) error {
	started := time.Now()
	var p params
	if err := json.Unmarshal(s.Params, &p); err != nil {
		return fmt.Errorf("parameters of %s: %w", s.Component, err)
	}
	for _, name := range []string{"model", "features", "source"} {
		if _, ok := s.Inputs[name]; !ok {
			return fmt.Errorf("%s has no input %q", s.Component, name)
		}
	}
	out, ok := s.Outputs["report"]
	if !ok {
		return fmt.Errorf("%s has no output %q", s.Component, "report")
	}
	c := &comparison{step: s, model: m, python: python, private: p.Private, counts: Counts{Differences: map[Kind]int64{}}}
	if err := c.prepare(ctx, p.Request); err != nil {
		return err
	}
	if m != nil {
		predictions, err := predict(ctx, s, python)
		if err != nil {
			return err
		}
		defer predictions.Close()
		c.predictions = predictions
	} else {
		c.notes = append(c.notes, "predictions are not compared")
	}
	if err := c.load(ctx); err != nil {
		return err
	}
	if m != nil {
		if err := whole(c.predictions, m, c.want.Len()); err != nil {
			return err
		}
	}
	if err := c.compare(ctx); err != nil {
		return err
	}
	c.finish()
	if err := c.counts.write(out.Path, c.notes); err != nil {
		return err
	}
	if s.Metrics != "" {
		err := s.WriteMetrics(map[string]float64{"rows": float64(c.counts.Rows), "cells": float64(c.counts.Cells), "predictions": float64(c.counts.Predictions),
			"differences": float64(c.counts.total()), "seconds": time.Since(started).Seconds()})
		if err != nil {
			return err
		}
	}
	for _, note := range c.notes {
		fmt.Println("note: " + note)
	}
	fmt.Printf("compared %d cells and %d predictions of %d rows in %s: %d differences\n",
		c.counts.Cells, c.counts.Predictions, c.counts.Rows, time.Since(started).Round(time.Millisecond), c.counts.total())
	return c.counts.err()
}

// A comparison is safe for concurrent use once it is loaded.
type comparison struct {
	step     *step.Step
	model    Predictor
	python   Python
	features *features.Features
	decoder  *request.Decoder
	names    [][]byte // of the columns of a request, as JSON

	compared    []compared
	keys        []int // those of compared that identify a row; nil if all of them together do
	want        *rowsql.Columns
	index       *rowsql.Index // of the keys, or of whole rows
	first       []uint32      // of each key, its first row
	often       []uint32      // and how often it is there
	seen        []uint32      // how often the service computes it
	predictions *os.File      // of Python, for each row of the features
	reads       []int         // where the columns of the model are in the results

	keyed    *features.Features // computes keys that the service does not; nil if it computes all
	keyReads []int              // where the columns that these need are in the source
	results  int                // of the service; a result beyond them is one of keyed

	private []string
	notes   []string
	counts  Counts
}

// compared is a column of the features that the service computes.
type compared struct {
	ir.Column
	result int // where it is in the results of the last plan
}

// prepare loads the features and chooses what is compared.
func (c *comparison) prepare(ctx context.Context, spec features.Spec) error {
	port := c.step.Inputs["features"]
	if len(spec.Plans) == 1 && spec.Results == nil {
		spec.Results = []ir.Schema{port.Schema}
	}
	var reads ir.Schema
	if c.model != nil {
		reads = c.model.Columns()
	} else if s := c.step.Inputs["model"].Signature; s != nil {
		reads = s.Input
	}
	var err error
	if c.features, err = features.Load(ctx, c.step, spec, reads); err != nil {
		return err
	}
	c.features.UseFunctions(c.python.Functions)
	if c.decoder, err = request.New(spec.Columns, batch); err != nil {
		return err
	}
	for _, col := range spec.Columns {
		name, _ := json.Marshal(col.Name)
		c.names = append(c.names, name)
	}
	results := c.features.Results()
	find := func(name string) int {
		return slices.IndexFunc(results, func(r ir.Column) bool { return r.Name == name })
	}
	var later []string
	for _, col := range port.Schema {
		i := find(col.Name)
		if i < 0 {
			later = append(later, col.Name)
			continue
		}
		if results[i].Type != col.Type {
			return fmt.Errorf("the service computes column %s as %s, which is %s in the features", col.Name, results[i].Type, col.Type)
		}
		c.compared = append(c.compared, compared{col, i})
	}
	for _, col := range reads {
		if !slices.ContainsFunc(c.compared, func(x compared) bool { return x.Name == col.Name }) {
			return fmt.Errorf("the model reads column %s, which the features do not have", col.Name)
		}
		c.reads = append(c.reads, find(col.Name))
	}
	c.results = len(results)
	if err := c.loadKeys(ctx, spec.Keys); err != nil {
		return err
	}
	later = slices.DeleteFunc(later, c.computes)
	if len(later) > 0 {
		c.notes = append(c.notes, "not compared, because only training computes it: "+strings.Join(later, ", "))
	}
	for _, name := range keysOf(port) {
		i := slices.IndexFunc(c.compared, func(x compared) bool { return x.Name == name })
		if i < 0 {
			c.keys = nil
			break
		}
		c.keys = append(c.keys, i)
	}
	if c.keys == nil {
		c.notes = append(c.notes, "rows are compared as a whole: the features have no keys that the service computes")
	}
	return nil
}

// keysOf are columns that identify a row of a table: its keys, or else a column with unique
// values that are never null.
func keysOf(port step.Port) []string {
	if len(port.Keys) > 0 {
		return port.Keys
	}
	for _, c := range port.Schema {
		if c.Unique && !c.Nullable {
			return []string{c.Name}
		}
	}
	return nil
}

// key appends the key of a row of compared columns.
func (c *comparison) key(b []byte, row []rowsql.Value) []byte {
	if c.keys == nil {
		for i, v := range row {
			b = appendKey(b, c.compared[i].Type, v)
		}
		return b
	}
	for _, i := range c.keys {
		b = appendKey(b, c.compared[i].Type, row[i])
	}
	return b
}

// load reads the features.
func (c *comparison) load(ctx context.Context) error {
	var columns ir.Schema
	var types []string
	for _, x := range c.compared {
		columns, types = append(columns, x.Column), append(types, ir.Types[x.Type])
	}
	r, err := table.Open(c.step.Inputs["features"].Path, columns)
	if err != nil {
		return err
	}
	defer r.Close()
	if c.want, err = rowsql.NewColumns(types, int(r.Rows())); err != nil {
		return err
	}
	c.index = rowsql.NewIndex()
	var rows table.Batch
	var key []byte
	for {
		err := r.Read(ctx, &rows, batch)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for i := range rows.Len() {
			row := rows.Row(i)
			key = c.key(key[:0], row)
			n, added, err := c.index.Add(key)
			switch {
			case err != nil:
				return err
			case added:
				c.first, c.often = append(c.first, uint32(c.want.Len())), append(c.often, 1)
			case c.keys != nil:
				return fmt.Errorf("two rows of the features have the same keys: %s", c.shown(row))
			default:
				c.often[n]++
			}
			if err := c.want.Append(row); err != nil {
				return err
			}
		}
	}
	c.counts.Features = int64(c.want.Len())
	c.seen = make([]uint32, c.index.Len())
	return nil
}

// A part of the source is handed to a worker.
type part struct {
	rows  rowsOf
	first int64 // number of its first row, from 1 on

	// Of a history: the rows as events, and their numbers.
	events  rowsOf
	numbers []int64
}

// rowsOf are rows, as a table.Batch has them.
type rowsOf interface {
	Len() int
	Row(i int) []rowsql.Value
}

// number is that of a row of the part.
func (p *part) number(i int) int64 {
	if p.numbers != nil {
		return p.numbers[i]
	}
	return p.first + int64(i)
}

// compare sends the source through the service.
func (c *comparison) compare(ctx context.Context) error {
	if h := c.features.History(); h != nil {
		return c.replay(ctx, h)
	}
	columns, err := c.source()
	if err != nil {
		return err
	}
	r, err := table.Open(c.step.Inputs["source"].Path, columns)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n := runtime.GOMAXPROCS(0)
	if milli := c.step.Resources.MilliCPU; milli > 0 {
		n = min(n, int(milli+999)/1000)
	}
	full, free := make(chan *part, n), make(chan *part, 2*n)
	for range 2 * n {
		free <- &part{rows: new(table.Batch)}
	}
	var wg sync.WaitGroup
	workers := make([]*worker, n)
	for i := range workers {
		workers[i] = c.worker()
		wg.Go(func() {
			for p := range full {
				if ctx.Err() == nil {
					if err := workers[i].part(ctx, p); err != nil {
						cancel(err)
					}
				}
				free <- p
			}
		})
	}
	err = c.read(ctx, r, full, free)
	close(full)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	for _, w := range workers {
		c.counts.add(&w.counts)
	}
	return err
}

// source are the columns of the source that a request has, as the source declares whether they
// may be null.
func (c *comparison) source() (ir.Schema, error) {
	columns := c.withKeyReads()
	for i, want := range columns {
		found := slices.IndexFunc(c.step.Inputs["source"].Schema, func(s ir.Column) bool { return s.Name == want.Name })
		if found < 0 {
			return nil, fmt.Errorf("the source has no column %s, which a request has", want.Name)
		}
		if columns[i] = c.step.Inputs["source"].Schema[found]; columns[i].Type != want.Type {
			return nil, fmt.Errorf("column %s is %s in the source and %s in a request", want.Name, columns[i].Type, want.Type)
		}
	}
	return columns, nil
}

// read hands the rows to the workers, and says how far it is.
func (c *comparison) read(ctx context.Context, r *table.Reader, full chan<- *part, free <-chan *part) error {
	done, said := int64(0), time.Time{}
	for {
		p := <-free
		p.first = done + 1
		err := r.Read(ctx, p.rows.(*table.Batch), batch)
		if err == io.EOF {
			c.progress(done, r.Rows())
			return nil
		}
		if err != nil {
			return err
		}
		done += int64(p.rows.Len())
		full <- p
		if time.Since(said) > time.Second {
			said = time.Now()
			c.progress(done, r.Rows())
		}
	}
}

// progress reports how many rows are compared. A step does not fail because it cannot.
func (c *comparison) progress(done, total int64) {
	if c.step.Progress == "" {
		return
	}
	f, err := os.OpenFile(c.step.Progress, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	line, err := json.Marshal(step.Progress{Done: float64(done), Total: float64(total), Message: "rows compared"})
	if err == nil {
		_, _ = f.Write(append(line, '\n'))
	}
}

// finish finds the rows that the service computes too rarely or too often.
func (c *comparison) finish() {
	row, shown := make([]rowsql.Value, len(c.compared)), 0
	for key, n := range c.seen { // in the order of the first rows

		if n == c.often[key] {
			continue
		}
		d := Difference{Kind: Missing, Row: int64(c.first[key]) + 1}
		if n > c.often[key] {
			if c.keys == nil && c.features.Drops {
				c.counts.LeftOut += int64(n - c.often[key])
				continue
			}
			d.Kind, d.Wanted, d.Got = Repeated, fmt.Sprint(c.often[key]), fmt.Sprint(n)
		}
		c.want.Row(int(c.first[key]), row)
		d.Key = c.shown(row)
		c.counts.Differences[d.Kind] += max(int64(n)-int64(c.often[key]), int64(c.often[key])-int64(n))
		if shown < mostShown {
			c.counts.First = append(c.counts.First, d)
			shown++
		}
	}
	c.counts.sort()
	if c.counts.LeftOut > 0 {
		c.notes = append(c.notes, fmt.Sprintf("%d rows are left out only in training, by conditions on columns that a caller does not have", c.counts.LeftOut))
	}
	if c.counts.Failed > 0 {
		c.notes = append(c.notes, fmt.Sprintf("%d rows that training may have left out are refused by the service", c.counts.Failed))
	}
	if c.counts.Unsendable > 0 {
		c.notes = append(c.notes, fmt.Sprintf("%d rows have a value that no request can contain, and were computed without JSON", c.counts.Unsendable))
	}
	if c.counts.Stale > 0 {
		c.notes = append(c.notes, fmt.Sprintf("%d rows would be refused because a row that is looked up is older than its max_age", c.counts.Stale))
	}
	if c.counts.Compared == 0 {
		c.notes = append(c.notes, "no row was compared")
	}
}

// shown writes the keys of a row of compared columns, or all of them if there are no keys.
func (c *comparison) shown(row []rowsql.Value) string {
	var parts []string
	for i, x := range c.compared {
		if c.keys == nil || slices.Contains(c.keys, i) {
			parts = append(parts, x.Name+"="+c.text(x.Column, row[i]))
		}
	}
	return strings.Join(parts, ", ")
}

// text writes a value, unless it is private.
func (c *comparison) text(col ir.Column, v rowsql.Value) string {
	if slices.Contains(c.private, col.Name) {
		return hidden
	}
	return shown(col, v)
}

// shown writes a value.
func shown(col ir.Column, v rowsql.Value) string {
	const most = 80
	if v.Null {
		return "null"
	}
	switch col.Type {
	case "float64":
		return fmt.Sprint(v.Float())
	case "float32":
		return fmt.Sprint(v.Float32())
	case "string", "bytes":
		if len(v.Text) > most {
			return fmt.Sprintf("%q... (%d bytes)", v.Text[:most], len(v.Text))
		}
		return fmt.Sprintf("%q", v.Text)
	}
	s, err := v.Format(ir.Types[col.Type])
	if err != nil {
		return fmt.Sprint(v.Int())
	}
	return s
}
