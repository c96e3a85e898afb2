package parity

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A worker compares parts of the source, in their order.
type worker struct {
	*comparison
	counts  Counts
	row     *features.Row
	keyRow  *features.Row // nil if the service computes the keys
	keyIn   []rowsql.Value
	decoded request.Rows
	body    []byte
	sent    []int // rows of the part that are in the body
	values  [][]rowsql.Value
	got     []rowsql.Value // of the compared columns
	want    []rowsql.Value
	key     []byte
	reads   []rowsql.Value // what the model gets
	buffer  model.Buffer
	outputs []float64 // of the model
	record  []byte    // a prediction of Python
	wanted  []float64 // the same as numbers
}

func (c *comparison) worker() *worker {
	w := &worker{comparison: c, counts: Counts{Differences: map[Kind]int64{}}, row: c.features.Row(), got: make([]rowsql.Value, len(c.compared)), want: make([]rowsql.Value, len(c.compared))}
	if c.keyed != nil {
		w.keyRow, w.keyIn = c.keyed.Row(), make([]rowsql.Value, len(c.keyReads))
	}
	if c.model != nil {
		w.reads, w.outputs, w.record = make([]rowsql.Value, len(c.reads)), make([]float64, c.model.Outputs()), make([]byte, recordSize(c.model))
		w.wanted = make([]float64, len(w.record)/8)
	}
	return w
}

// part compares the rows of a part.
func (w *worker) part(ctx context.Context, p *part) error {
	n := w.send(p)
	next := 0
	w.values = w.values[:0]
	for i := range p.rows.Len() {
		values := p.rows.Row(i)
		if next < n && w.sent[next] == i {
			values = w.decoded.Row(next) // as the service has them
			next++
		}
		w.values = append(w.values, values)
	}
	if err := w.fetch(ctx); err != nil {
		return err
	}
	for i, values := range w.values {
		if err := w.compareRow(ctx, p.first+int64(i), values, p.rows.Row(i)); err != nil {
			return err
		}
	}
	w.counts.Rows += int64(p.rows.Len())
	return nil
}

// fetch fetches what the rows of a part need from stores. It asks again for a while, as clients
// of the service do.
func (w *worker) fetch(ctx context.Context) error {
	const most = 5
	for try := 1; ; try++ {
		err := w.row.Fetch(ctx, len(w.values), func(i int) []rowsql.Value { return w.values[i] }, func(fetch func() error) error { return fetch() })
		if err == nil || try == most || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Duration(try) * 100 * time.Millisecond)
	}
}

// send makes a request of the rows of a part, decodes it, and compares each value with what was
// sent. It returns how many rows were decoded.
func (w *worker) send(p *part) int {
	columns := w.features.Columns()
	w.body, w.sent = append(w.body[:0], `{"instances":[`...), w.sent[:0]
	for i := range p.rows.Len() {
		row := p.rows.Row(i)[:len(columns)]
		if !sendable(columns, row) {
			w.counts.Unsendable++
			continue
		}
		if len(w.sent) > 0 {
			w.body = append(w.body, ',')
		}
		w.body, w.sent = appendRow(w.body, columns, w.names, row), append(w.sent, i)
	}
	if len(w.sent) == 0 {
		return 0
	}
	w.body = append(w.body, "]}"...)
	if errs := w.decoder.Decode(w.body, &w.decoded); len(errs) > 0 {
		for _, e := range errs {
			d := Difference{Kind: Decoded, Row: p.first, Got: e.Msg}
			if len(e.Loc) > 3 { // "body", "instances", the row, the column
				d.Column = fmt.Sprint(e.Loc[3])
				if i, ok := e.Loc[2].(int); ok {
					d.Row += int64(w.sent[i])
					for j, c := range columns {
						if c.Name == d.Column {
							d.Wanted = w.text(c, p.rows.Row(w.sent[i])[j])
						}
					}
				}
			}
			w.counts.found(d)
		}
		return 0
	}
	for n, i := range w.sent {
		sent, decoded := p.rows.Row(i), w.decoded.Row(n)
		for j, c := range columns {
			if sent[j] != decoded[j] {
				w.counts.found(Difference{Kind: Decoded, Row: p.first + int64(i), Column: c.Name, Wanted: w.text(c, sent[j]), Got: w.text(c, decoded[j])})
			}
		}
	}
	return len(w.sent)
}

// compareRow computes a row, and compares it with that of training.
func (w *worker) compareRow(ctx context.Context, number int64, values, source []rowsql.Value) error {
	results, old, err := w.row.Results(values)
	switch {
	case err != nil && w.features.Drops:
		w.counts.Failed++ // if training has the row, it is missing
		return nil
	case err != nil:
		says := err.Error()
		if len(w.private) > 0 {
			says = "its values cannot be computed" // the message may repeat them
		}
		w.counts.found(Difference{Kind: Refused, Row: number, Got: says})
		return nil
	case results == nil:
		return nil // if training has the row, it is missing
	}
	keys, err := w.keysOf(source)
	if err != nil {
		return err
	}
	if w.keyed != nil && keys == nil {
		return w.extra(number, "") // a condition that the service lacks leaves it out
	}
	for i, c := range w.compared {
		if c.result < w.results {
			w.got[i] = results[c.result]
		} else {
			w.got[i] = keys[c.result-w.results]
		}
	}
	w.key = w.comparison.key(w.key[:0], w.got)
	k := w.index.Find(w.key)
	if k < 0 {
		return w.extra(number, w.shown(w.got))
	}
	if old != nil {
		w.counts.Stale++
	}
	atomic.AddUint32(&w.seen[k], 1)
	w.counts.Compared++
	w.counts.Cells += int64(w.cells())
	row := int(w.first[k])
	w.comparison.want.Row(row, w.want)
	for i, c := range w.compared {
		if !equal(c.Type, w.got[i], w.want[i]) {
			w.counts.found(Difference{Kind: Cell, Row: number, Key: w.shown(w.want), Column: c.Name, Wanted: w.text(c.Column, w.want[i]), Got: w.text(c.Column, w.got[i])})
		}
	}
	if w.model == nil {
		return nil
	}
	return w.predict(ctx, number, row, results)
}

// predict compares the prediction for a row with that of Python for a row of the features.
func (w *worker) predict(ctx context.Context, number int64, row int, results []rowsql.Value) error {
	for i, j := range w.comparison.reads {
		w.reads[i] = results[j]
	}
	if n, err := w.predictions.ReadAt(w.record, int64(row)*int64(len(w.record))); n < len(w.record) {
		return fmt.Errorf("read Python's predictions: %w", err)
	}
	w.counts.Predictions++
	d := Difference{Kind: Prediction, Row: number}
	var refused *model.RowError
	switch err := w.model.Predict(ctx, w.reads, w.outputs, &w.buffer); {
	case errors.As(err, &refused):
		d.Key, d.Got = w.shown(w.want), refused.Err.Error()
		w.counts.found(d)
		return nil
	case err != nil:
		return err
	}
	for i := range w.wanted {
		w.wanted[i] = math.Float64frombits(binary.LittleEndian.Uint64(w.record[8*i:]))
	}
	if wanted, got := w.compareOutputs(); wanted != got {
		d.Key, d.Wanted, d.Got = w.shown(w.want), wanted, got
		w.counts.found(d)
	}
	return nil
}

// compareOutputs returns what is wanted and what the model predicts instead, or nothing if it
// predicts what is wanted.
func (w *worker) compareOutputs() (wanted, got string) {
	want, class, python := w.wanted, 0, 0
	if len(w.model.Classes()) > 0 {
		class, _ = w.model.Class(w.outputs)
		python, want = int(want[0]), want[1:]
	}
	if class == python && slices.EqualFunc(w.outputs, want, func(a, b float64) bool { return model.Same(a, b, 0) }) {
		return "", ""
	}
	allowed := w.model.Allowed(w.reads, want, &w.buffer)
	// Of two classes that are equally probable but for rounding, either may be predicted.
	if class != python && !(python >= 0 && python < len(want) && math.Abs(want[class]-want[python]) <= 2*allowed) {
		wanted, got = fmt.Sprintf("class %d, ", python), fmt.Sprintf("class %d, ", class)
	}
	for i, x := range w.outputs {
		if !model.Same(x, want[i], allowed) {
			wanted, got = wanted+fmt.Sprintf("%v ", want[i]), got+fmt.Sprintf("%v ", x)
		}
	}
	return wanted, got
}
