package rowsql

import (
	"cmp"
	"fmt"
	"slices"
)

// Rows are the rows of a lookup, by their keys. They do not change.
type Rows struct {
	index   *Index
	columns *Columns
	// Of ASOF, a key has several rows: those of key k are order[starts[k]:starts[k+1]], sorted
	// by the values after.
	order  []uint32
	starts []uint32
	after  *Columns
}

// Len is the number of rows.
func (r *Rows) Len() int { return r.columns.Len() }

// Size is their memory in bytes.
func (r *Rows) Size() int {
	n := r.index.Size() + r.columns.Size() + 4*(cap(r.order)+cap(r.starts))
	if r.after != nil {
		n += r.after.Size()
	}
	return n
}

func (r *Rows) ends(key int) (from, to int) { return int(r.starts[key]), int(r.starts[key+1]) }

// A RowsBuilder makes the rows of a lookup from those of its table.
type RowsBuilder struct {
	lookup   *lookup
	rows     *Rows
	row, key *Row
	in       int      // rows of the table
	keys     []uint32 // of ASOF: the key of each row
	text     []byte
	value    [1]Value
}

// NewRows returns a builder for a lookup of the plan. rows is about how many there are.
func (p *Program) NewRows(lookup, rows int) (*RowsBuilder, error) {
	x := p.lookups[lookup]
	var types []string
	for _, o := range x.plan.Outputs {
		types = append(types, o.Type)
	}
	b := &RowsBuilder{lookup: x, rows: &Rows{index: NewIndex()}, row: newRow(x.plan.Slots, nil)}
	b.key = newRow(len(x.outputs), nil)
	var err error
	if b.rows.columns, err = NewColumns(types, rows); err != nil {
		return nil, err
	}
	if x.after != nil {
		b.rows.after, err = NewColumns([]string{x.plan.After.Type}, rows)
	}
	return b, err
}

// Size is the memory of the rows so far, in bytes.
func (b *RowsBuilder) Size() int { return b.rows.Size() }

// Add adds a row of the table, whose values are in the order of the columns of the lookup's
// input. Two rows with the same keys are an error, because a request would have to choose
// between them.
func (b *RowsBuilder) Add(in []Value) error {
	x, name := b.lookup, b.lookup.plan.Input.Name
	if found, err := b.compute(in); err != nil || !found {
		return err
	}
	if b.rows.Len() == mostKeys {
		return fmt.Errorf("%q has more than %d rows", name, mostKeys)
	}
	key, added, err := b.rows.index.Add(b.text)
	switch {
	case err != nil:
		return fmt.Errorf("%q: %w", name, err)
	case x.after != nil:
		b.keys = append(b.keys, uint32(key))
		if err := b.rows.after.Append(b.value[:]); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	case !added:
		return sameKeys(name)
	}
	if err := b.rows.columns.Append(b.key.slots); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}

// compute makes the row of the lookup, in b.key, and its key. It reports whether a request can
// find it.
func (b *RowsBuilder) compute(in []Value) (found bool, err error) {
	x, name := b.lookup, b.lookup.plan.Input.Name
	b.in++
	if len(in) != len(x.plan.Input.Columns) {
		return false, fmt.Errorf("row %d of %q has %d values, wanted %d", b.in, name, len(in), len(x.plan.Input.Columns))
	}
	copy(b.row.slots, in)
	keep, err := b.row.run(x.steps, x.outputs, b.key.slots)
	if err != nil {
		return false, fmt.Errorf("row %d of %q: %w", b.in, name, err)
	}
	if !keep {
		return false, nil
	}
	b.key.err = nil
	found = true // by a request; null is neither equal to, nor before or after anything
	b.text = b.text[:0]
	for j, f := range x.keys {
		v := f(b.key)
		found = found && (!v.Null || x.plan.Nulls[j])
		b.text = appendKey(b.text, v, x.types[j].class)
	}
	if x.after != nil {
		b.value[0] = x.after(b.key)
		found = found && !b.value[0].Null
	}
	if b.key.err != nil {
		return false, fmt.Errorf("row %d of %q: %w", b.in, name, b.key.err)
	}
	return found, nil
}

func sameKeys(name string) error { return fmt.Errorf("two rows of %q have the same keys", name) }

// Rows returns the rows, after which none can be added.
func (b *RowsBuilder) Rows() (*Rows, error) {
	r, x := b.rows, b.lookup
	r.columns.fit()
	if x.after == nil {
		return r, nil
	}
	r.after.fit()
	// Rows are ordered by key, and then by the value.
	r.starts, r.order = make([]uint32, r.index.Len()+1), make([]uint32, len(b.keys))
	for _, k := range b.keys {
		r.starts[k+1]++
	}
	for k := range r.index.Len() {
		r.starts[k+1] += r.starts[k]
	}
	next := slices.Clone(r.starts)
	for i, k := range b.keys {
		r.order[next[k]] = uint32(i)
		next[k]++
	}
	for k := range r.index.Len() {
		from, to := r.ends(k)
		rows := r.order[from:to]
		slices.SortFunc(rows, func(a, b uint32) int {
			return cmp.Or(x.order(r.after.Value(int(a), 0), r.after.Value(int(b), 0)), cmp.Compare(a, b))
		})
		for i := 1; i < len(rows); i++ {
			if x.order(r.after.Value(int(rows[i-1]), 0), r.after.Value(int(rows[i]), 0)) == 0 {
				return nil, sameKeys(x.plan.Input.Name)
			}
		}
	}
	b.keys = nil
	return r, nil
}

// Rows makes the rows of a lookup of the plan from those of its table, see [RowsBuilder].
func (p *Program) Rows(lookup int, table [][]Value) (*Rows, error) {
	b, err := p.NewRows(lookup, len(table))
	if err != nil {
		return nil, err
	}
	for _, in := range table {
		if err := b.Add(in); err != nil {
			return nil, err
		}
	}
	return b.Rows()
}

// Lacks reports whether the last run went on without a row of a lookup.
func (r *Row) Lacks(lookup int) bool { return r.found[lookup] == nil }

// Age returns how much older than the request is the row that an ASOF join of a lookup found
// in the last run, in microseconds. It is 0 if it found none.
func (r *Row) Age(lookup int) int64 {
	if r.found[lookup] == nil {
		return 0
	}
	at, row := r.asof[lookup][0].Int(), r.asof[lookup][1].Int()
	if age := at - row; (age < at) == (row > 0) {
		return age
	}
	return 1<<63 - 1 // it does not fit
}
