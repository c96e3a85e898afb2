package parity

import (
	"context"
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// loadKeys loads what computes the keys of the features, if the service does not compute all of
// them. They are columns to compare, with the values of training.
func (c *comparison) loadKeys(ctx context.Context, spec *features.Spec) error {
	port := c.step.Inputs["features"]
	if spec == nil || !slices.ContainsFunc(port.Keys, func(name string) bool { return !c.computes(name) }) {
		return nil
	}
	var err error
	if c.keyed, err = features.Load(ctx, c.step, *spec, nil); err != nil {
		return err
	}
	for i, result := range c.keyed.Results() {
		col := port.Schema.Column(result.Name)
		if !slices.Contains(port.Keys, result.Name) || c.computes(result.Name) {
			continue
		}
		if col == nil || col.Type != result.Type {
			return fmt.Errorf("the key %s is not a column of the features of the type %s", result.Name, result.Type)
		}
		c.compared = append(c.compared, compared{*col, c.results + i})
	}
	return nil
}

// computes reports whether a column of the features is computed.
func (c *comparison) computes(name string) bool {
	return slices.ContainsFunc(c.compared, func(x compared) bool { return x.Name == name })
}

// withKeyReads returns the columns of a request, and then others that the keys are computed
// from.
func (c *comparison) withKeyReads() ir.Schema {
	columns := slices.Clone(c.features.Columns())
	if c.keyed == nil {
		return columns
	}
	for _, want := range c.keyed.Columns() {
		i := slices.IndexFunc(columns, func(x ir.Column) bool { return x.Name == want.Name })
		if i < 0 {
			i, columns = len(columns), append(columns, want)
		}
		c.keyReads = append(c.keyReads, i)
	}
	return columns
}

// cells is how many values of a row the service computes.
func (c *comparison) cells() int {
	n := 0
	for _, x := range c.compared {
		if x.result < c.results {
			n++
		}
	}
	return n
}

// keysOf computes the keys of a row of the source that the service does not compute. They are
// nil if the query leaves the row out.
func (w *worker) keysOf(source []rowsql.Value) ([]rowsql.Value, error) {
	if w.keyRow == nil {
		return nil, nil
	}
	for i, j := range w.keyReads {
		w.keyIn[i] = source[j]
	}
	keys, _, err := w.keyRow.Results(w.keyIn)
	return keys, err
}

// extra notes a row that the service computes and training does not have.
func (w *worker) extra(number int64, key string) error {
	if w.features.Drops {
		w.counts.LeftOut++
		return nil
	}
	w.counts.found(Difference{Kind: Extra, Row: number, Key: key})
	return nil
}
