package parity

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// replay sends the rows of the source through the service as they happened, each with those
// before it as its history.
func (c *comparison) replay(ctx context.Context, h *features.History) error {
	if err := h.Loaded(0); err != nil {
		return err
	}
	source, err := c.source()
	if err != nil {
		return err
	}
	columns := h.Columns()
	var types []string
	for _, col := range columns {
		types = append(types, ir.Types[col.Type])
	}
	events, err := rowsql.NewColumns(types, 0)
	if err != nil {
		return err
	}
	w := c.worker()
	w.recorder = h.Recorder()
	sorter := w.recorder.Sorter()
	err = h.Read(ctx, c.step.Inputs["source"], func(_ int64, row []rowsql.Value) error {
		if err := sorter.Add(row); err != nil {
			return err
		}
		return events.Append(row)
	})
	if err != nil {
		return err
	}
	takes := make([]int, len(source))
	for i, col := range source {
		for j, of := range columns {
			if of.Name == col.Name {
				takes[i] = j
			}
		}
	}
	order := sorter.Sorted()
	p := &part{numbers: []int64{}}
	requests, happened := &memory{width: len(source)}, &memory{width: len(columns)}
	p.rows, p.events = requests, happened
	for from := 0; from < len(order) && ctx.Err() == nil; from += batch {
		requests.values, happened.values, p.numbers = requests.values[:0], happened.values[:0], p.numbers[:0]
		for _, i := range order[from:min(from+batch, len(order))] {
			row := happened.next()
			events.Row(i, row)
			p.numbers = append(p.numbers, int64(i)+1)
			request := requests.next()
			for j, k := range takes {
				request[j] = row[k]
			}
		}
		if err := w.part(ctx, p); err != nil {
			return err
		}
		c.progress(int64(from+requests.Len()), int64(len(order)))
	}
	c.counts.add(&w.counts)
	return ctx.Err()
}

// memory has rows one after the other.
type memory struct {
	values []rowsql.Value
	width  int
}

func (m *memory) Len() int                 { return len(m.values) / m.width }
func (m *memory) Row(i int) []rowsql.Value { return m.values[i*m.width : (i+1)*m.width] }

// next adds a row.
func (m *memory) next() []rowsql.Value {
	m.values = append(m.values, make([]rowsql.Value, m.width)...)
	return m.Row(m.Len() - 1)
}

// happen adds a row of a part to the history.
func (w *worker) happen(p *part, i int) error {
	w.recorder.Reset()
	known, err := w.recorder.Check(p.events.Row(i))
	if err == nil && known {
		err = fmt.Errorf("another row has the same keys")
	}
	if err == nil {
		err = w.recorder.Add(0)
	}
	if errors.Is(err, rowsql.ErrSameOrder) {
		err = fmt.Errorf("%w: add a unique column to the ORDER BY of the windows, or write EXCLUDE TIES or EXCLUDE GROUP in a RANGE", err)
	}
	if err != nil {
		return fmt.Errorf("row %d of the source cannot be in the history of later rows: %w", p.number(i), err)
	}
	return nil
}
