package parity

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
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
	// Rows of the part that were computed, and what the model gets and gives for them.
	toPredict []predicted
	reads     []rowsql.Value
	outputs   []float64
	buffer    model.Buffer
	record    []byte    // a prediction of Python
	wanted    []float64 // the same as numbers

	recorder *features.Recorder // of events, if the features have a history
}

func (c *comparison) worker() *worker {
	w := &worker{comparison: c, counts: Counts{Differences: map[Kind]int64{}}, row: c.features.Row(), got: make([]rowsql.Value, len(c.compared)), want: make([]rowsql.Value, len(c.compared))}
	if c.keyed != nil {
		w.keyRow, w.keyIn = c.keyed.Row(), make([]rowsql.Value, len(c.keyReads))
	}
	if c.model != nil {
		w.record = make([]byte, recordSize(c.model))
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
	// What functions in Python get may depend on earlier rows of the part.
	single := w.recorder != nil && len(w.python.Functions) > 0
	if !single {
		if err := w.fetch(ctx, w.values); err != nil {
			return err
		}
	}
	for i, values := range w.values {
		if single {
			if err := w.fetch(ctx, w.values[i:i+1]); err != nil {
				return err
			}
		}
		if err := w.compareRow(p.number(i), values, p.rows.Row(i)); err != nil {
			return err
		}
		if w.recorder != nil {
			if err := w.happen(p, i); err != nil {
				return err
			}
		}
	}
	w.counts.Rows += int64(p.rows.Len())
	if w.model == nil {
		return nil
	}
	return w.predict(ctx)
}

// fetch fetches what rows need from stores, and asks functions in Python for them. It asks again
// for a while, as clients of the service do.
func (w *worker) fetch(ctx context.Context, rows [][]rowsql.Value) error {
	const most = 5
	for try := 1; ; try++ {
		err := w.row.Fetch(ctx, len(rows), func(i int) []rowsql.Value { return rows[i] }, func(fetch func() error) error { return fetch() })
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
			d := Difference{Kind: Decoded, Row: p.number(0), Got: e.Msg}
			if len(e.Loc) > 3 { // "body", "instances", the row, the column
				d.Column = fmt.Sprint(e.Loc[3])
				if i, ok := e.Loc[2].(int); ok {
					d.Row = p.number(w.sent[i])
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
				w.counts.found(Difference{Kind: Decoded, Row: p.number(i), Column: c.Name, Wanted: w.text(c, sent[j]), Got: w.text(c, decoded[j])})
			}
		}
	}
	return len(w.sent)
}

// refused notes a row that cannot be computed. If training leaves out rows and has this one, it
// is missing.
func (w *worker) refused(number int64, err error) {
	if w.features.Drops {
		w.counts.Failed++
		return
	}
	d := Difference{Kind: Refused, Row: number, Got: err.Error()}
	mask(d.Kind, "", w.private, &d.Wanted, &d.Got)
	w.counts.found(d)
}

// compareRow computes a row, and compares it with that of training.
func (w *worker) compareRow(number int64, values, source []rowsql.Value) error {
	results, old, err := w.row.Results(values)
	switch {
	case err != nil:
		w.refused(number, err)
		return nil
	case results == nil:
		return nil // if training has the row, it is missing
	}
	keys, err := w.keysOf(source)
	if err != nil {
		w.refused(number, err)
		return nil
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
	for _, j := range w.comparison.reads {
		w.reads = append(w.reads, results[j])
	}
	w.toPredict = append(w.toPredict, predicted{number, row})
	return nil
}

// predicted is a row whose prediction is compared.
type predicted struct {
	number int64 // of the row of the source
	row    int   // of the features
}

// predict compares the predictions for the rows of a part with those of Python for rows of the
// features.
func (w *worker) predict(ctx context.Context) error {
	rows, columns, n := w.toPredict, len(w.comparison.reads), w.model.Outputs()
	w.counts.Predictions += int64(len(rows))
	for len(rows) > 0 {
		w.outputs = slices.Grow(w.outputs[:0], len(rows)*n)[:len(rows)*n]
		err := w.model.Predict(ctx, w.reads, w.outputs, &w.buffer)
		var refused *model.RowError
		switch {
		case errors.As(err, &refused):
			w.comparison.want.Row(rows[refused.Row].row, w.want)
			w.counts.found(Difference{Kind: Prediction, Row: rows[refused.Row].number, Key: w.shown(w.want), Got: refused.Err.Error()})
			rows = slices.Delete(rows, refused.Row, refused.Row+1)
			w.reads = slices.Delete(w.reads, refused.Row*columns, (refused.Row+1)*columns)
			continue
		case err != nil:
			return err
		}
		for i, r := range rows {
			if err := w.comparePrediction(r, w.reads[i*columns:(i+1)*columns], w.outputs[i*n:(i+1)*n]); err != nil {
				return err
			}
		}
		break
	}
	w.toPredict, w.reads = w.toPredict[:0], w.reads[:0]
	return nil
}

// comparePrediction compares what the service predicts for what the model reads of a row with
// what Python does.
func (w *worker) comparePrediction(r predicted, reads []rowsql.Value, outputs []float64) error {
	if n, err := w.predictions.ReadAt(w.record, int64(r.row)*int64(len(w.record))); n < len(w.record) {
		return fmt.Errorf("read Python's predictions: %w", err)
	}
	for i := range w.wanted {
		w.wanted[i] = math.Float64frombits(binary.LittleEndian.Uint64(w.record[8*i:]))
	}
	if wanted, got := w.compareOutputs(reads, outputs); wanted != got {
		d := Difference{Kind: Prediction, Row: r.number, Wanted: wanted, Got: got}
		w.comparison.want.Row(r.row, w.want)
		d.Key = w.shown(w.want)
		w.counts.found(d)
	}
	return nil
}

// compareOutputs returns what is wanted and what the service predicts instead for what the
// model reads, or nothing if it predicts what is wanted.
func (w *worker) compareOutputs(reads []rowsql.Value, outputs []float64) (wanted, got string) {
	class := -1
	if len(w.model.Classes()) > 0 {
		class, _ = w.model.Class(outputs)
	}
	return differing(class, outputs, w.wanted, func(want []float64) float64 { return w.allowed(reads, want) })
}

// differing returns what Python predicts and what the service predicts instead, or nothing if
// they are equal. class is that of the service, or -1. What Python predicts begins with its
// class, if there is one. allowed is how far outputs may be from those wanted.
func differing(class int, outputs, python []float64, allowed func(want []float64) float64) (wanted, got string) {
	want, other := python, -1
	if class >= 0 {
		other, want = int(python[0]), python[1:]
	}
	outputs = outputs[:len(want)]
	if class == other && slices.EqualFunc(outputs, want, func(a, b float64) bool { return model.Same(a, b, 0) }) {
		return "", ""
	}
	most := allowed(want)
	// Of two classes that are equally probable but for rounding, either may be predicted.
	if class != other && !(other >= 0 && other < len(want) && math.Abs(want[class]-want[other]) <= 2*most) {
		wanted, got = fmt.Sprintf("class %d ", other), fmt.Sprintf("class %d ", class)
	}
	for i, x := range outputs {
		if !model.Same(x, want[i], most) {
			wanted, got = wanted+fmt.Sprintf("%v ", want[i]), got+fmt.Sprintf("%v ", x)
		}
	}
	return strings.TrimSuffix(wanted, " "), strings.TrimSuffix(got, " ")
}

// rounding is how much numbers of Python may differ, relative to them if they are above 1, if
// they were computed for another number of rows at once: libraries for linear algebra then add
// in another order.
const rounding = 1e-6

func roundingOf(want []float64) float64 {
	most := 1.0
	for _, x := range want {
		most = max(most, math.Abs(x))
	}
	return rounding * most
}

// allowed returns how far the outputs for a row may be from those wanted.
func (w *worker) allowed(reads []rowsql.Value, want []float64) float64 {
	if !w.python.Exact {
		return roundingOf(want)
	}
	if m, ok := w.model.(interface {
		Allowed(row []rowsql.Value, want []float64, b *model.Buffer) float64
	}); ok {
		return m.Allowed(reads, want, &w.buffer)
	}
	return 0
}
