package features

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Features are safe for concurrent use.
type Features struct {
	// Drops says that training may have left out rows that are computed.
	Drops bool

	columns ir.Schema // of a request
	links   []*link
	model   []int            // where the columns of the model are in the last result
	ranges  []*request.Range // of the columns of the model
	returns []int            // and those that an answer repeats
	files   []*file
	most    int              // bytes of all tables; 0 is any
	rows    [][]*rowsql.Rows // of the lookups of each plan
	tables  []*stored        // lookups whose rows are in stores
	history *History         // nil if no plan has windows
}

// A file is a table that is looked up.
type file struct {
	port step.Port
	uses []use
}

// A use is a lookup of a plan.
type use struct{ link, lookup int }

// Load prepares a spec and reads its tables. reads are the columns of the model. A step that
// has a limit of memory gets no tables that exceed it.
func Load(ctx context.Context, s *step.Step, spec Spec, reads ir.Schema) (*Features, error) {
	f := &Features{columns: spec.Columns, most: int(s.Resources.Memory)}
	if err := f.plans(spec, reads); err != nil {
		return nil, fmt.Errorf("the features of a request: %w", err)
	}
	last := f.Results()
	for _, c := range reads {
		i := place(last, c.Name)
		if i < 0 {
			return nil, fmt.Errorf("the features of a request: the model reads column %s, which nothing computes", c.Name)
		}
		if last[i].Type != c.Type {
			return nil, fmt.Errorf("the features of a request: the model reads column %s as %s, which is %s", c.Name, c.Type, last[i].Type)
		}
		known, err := request.NewRange(c)
		if err != nil {
			return nil, err
		}
		f.model, f.ranges = append(f.model, i), append(f.ranges, known)
	}
	for _, name := range spec.Returns {
		i := place(last, name)
		if i < 0 {
			return nil, fmt.Errorf("the features of a request: an answer is to repeat column %s, which nothing computes", name)
		}
		f.returns = append(f.returns, i)
	}
	if err := f.inputs(s, spec, func(l Lookup) bool { return l.Store == nil }); err != nil {
		return nil, fmt.Errorf("the features of a request: %w", err)
	}
	if err := f.windows(spec.History); err != nil {
		return nil, fmt.Errorf("the features of a request: %w", err)
	}
	for _, l := range f.links {
		f.rows = append(f.rows, make([]*rowsql.Rows, len(l.plan.Lookups)))
	}
	for _, x := range f.files {
		if err := f.read(ctx, x); err != nil {
			return nil, err
		}
	}
	if err := f.open(ctx, s, spec); err != nil {
		return nil, fmt.Errorf("the features of a request: %w", err)
	}
	return f, nil
}

// inputs finds the tables that are looked up in memory.
func (f *Features) inputs(s *step.Step, spec Spec, wanted func(Lookup) bool) error {
	ports := map[string]*file{}
	for i, l := range f.links {
		for j, look := range l.plan.Lookups {
			name := spec.Lookups[look.Input.Name].Port
			if !wanted(spec.Lookups[look.Input.Name]) {
				continue
			}
			x := ports[name]
			if x == nil {
				port, ok := s.Inputs[name]
				if !ok {
					return fmt.Errorf("the step has no input %q, which %q is looked up in", name, look.Input.Name)
				}
				x = &file{port: port}
				ports[name], f.files = x, append(f.files, x)
			}
			for _, c := range look.Input.Columns {
				k := place(x.port.Schema, c.Name)
				if k < 0 {
					return fmt.Errorf("%q has no column %s, which is looked up", look.Input.Name, c.Name)
				}
				if t := ir.Types[x.port.Schema[k].Type]; t != c.Type {
					return fmt.Errorf("column %s of %q is %s, and is looked up as %s", c.Name, look.Input.Name, t, c.Type)
				}
			}
			x.uses = append(x.uses, use{i, j})
		}
	}
	return nil
}

// Columns are those of a request.
func (f *Features) Columns() ir.Schema { return f.columns }

// Returns are the columns that an answer repeats.
func (f *Features) Returns() ir.Schema {
	var s ir.Schema
	for _, i := range f.returns {
		s = append(s, f.Results()[i])
	}
	return s
}

// Results are the columns that the last plan computes.
func (f *Features) Results() ir.Schema { return f.links[len(f.links)-1].results }

// Size is the memory of all tables in bytes, as far as they are read.
func (f *Features) Size() (n int) {
	for _, l := range f.rows {
		for _, r := range l {
			if r != nil {
				n += r.Size()
			}
		}
	}
	return n
}

// read reads a file for all lookups in it.
func (f *Features) read(ctx context.Context, x *file) error {
	for _, u := range x.uses {
		columns := f.columnsOf(x, u)
		name, err := sharedName(&f.links[u.link].plan.Lookups[u.lookup], columns, x.port.Digest)
		if err != nil {
			return err
		}
		if f.rows[u.link][u.lookup] = shared.get(name, x.port.Digest); f.rows[u.link][u.lookup] != nil {
			continue
		}
		r, err := table.Open(x.port.Path, columns)
		if err != nil {
			return err
		}
		f.rows[u.link][u.lookup], err = f.lookup(ctx, r, columns, u)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		shared.put(name, x.port.Digest, f.rows[u.link][u.lookup])
	}
	return nil
}

// columnsOf are the columns of a file that a lookup reads.
func (f *Features) columnsOf(x *file, u use) (columns ir.Schema) {
	for _, c := range f.links[u.link].plan.Lookups[u.lookup].Input.Columns {
		columns = append(columns, x.port.Schema[place(x.port.Schema, c.Name)])
	}
	return columns
}

// batch is how many rows are read at once.
const batch = 1024

func (f *Features) lookup(ctx context.Context, r *table.Reader, columns ir.Schema, u use) (*rowsql.Rows, error) {
	taken := f.Size()
	b, err := f.links[u.link].NewRows(u.lookup, int(r.Rows()))
	if err != nil {
		return nil, err
	}
	var rows table.Batch
	for {
		if size := taken + b.Size(); f.most > 0 && size > f.most {
			return nil, fmt.Errorf("the tables that are looked up need more memory than the %d bytes of the step: declare more in needs.memory", f.most)
		}
		err := r.Read(ctx, &rows, batch)
		if err == io.EOF {
			return b.Rows()
		}
		if err != nil {
			return nil, err
		}
		for i := range rows.Len() {
			row := rows.Row(i)
			for j := range row {
				rowsql.Store(&columns[j], &row[j])
			}
			if err := b.Add(row); err != nil {
				return nil, err
			}
		}
	}
}

// A RowComputer computes rows, one after the other. It is an alias so that Features have the
// method that the plane wants.
type RowComputer = interface {
	Compute(request, row, returned []rowsql.Value) (kept bool, err error)
	// Position is how many events of the log the history had for the row that was computed last.
	Position() int64
	// Missed says which lookups had no row for it: "lookup weather, lookup plane", or "".
	Missed() string
}

// NewRow returns what one goroutine computes rows with: a [*Row].
func (f *Features) NewRow() RowComputer { return f.Row() }

// Position implements [RowComputer].
func (r *Row) Position() int64 { return r.seen }

// Missed implements [RowComputer].
func (r *Row) Missed() string { return strings.Join(r.missed, ", ") }

// A Row is what one goroutine computes rows with.
type Row struct {
	f      *Features
	links  []rowOf
	stored []*rowsql.Fetched // of f.tables
	self   []byte            // the key of the row, among those of its history
	seen   int64             // the position of the history that the last row was computed with
	missed []string          // lookups that had no row for it
	asked  map[string]*asked // rows of the request, if functions in Python are asked
	wants  []want            // of them
	key    []byte            // of asked
}

// rowOf is the memory of one plan.
type rowOf struct {
	row     *rowsql.Row
	in, out []rowsql.Value
}

// Row returns what one goroutine computes rows with.
func (f *Features) Row() *Row {
	r := &Row{f: f}
	for _, l := range f.links {
		var row *rowsql.Row
		if l.call == nil {
			row = l.NewRow()
		}
		r.links = append(r.links, rowOf{row, make([]rowsql.Value, len(l.read)), make([]rowsql.Value, len(l.results))})
	}
	r.fetched()
	return r
}

// A TooOldError is a row of an ASOF lookup that is older than its max_age. Training would have
// used it.
type TooOldError struct {
	Lookup   string
	Age, Max time.Duration
}

func (e *TooOldError) Error() string {
	return fmt.Sprintf("the latest row of %q is %s older than the request, and its max_age is %s", e.Lookup, e.Age.Round(time.Millisecond), e.Max)
}

// Compute fills the row of the model from that of a request, and the columns that an answer
// repeats. It returns false if a query leaves the row out. The error is a [*TooOldError], that of
// a [Function], or about the values: a [*rowsql.Error], or a [*model.ValueError] for a result
// that no table holds. Rows of stores are fetched before, and functions asked, see [Row.Fetch].
func (r *Row) Compute(request, row, returned []rowsql.Value) (bool, error) {
	result, old, err := r.Results(request)
	switch {
	case err != nil || result == nil:
		return false, err
	case old != nil:
		return false, old
	}
	for i, j := range r.f.model {
		if says := r.f.ranges[i].Refusal(&result[j]); says != "" {
			return false, &model.ValueError{Column: r.f.Results()[j].Name, Reason: "it is computed as a value that the model does not know: " + says}
		}
		row[i] = result[j]
	}
	for i, j := range r.f.returns {
		if c := &r.f.Results()[j]; infinite(c.Type, result[j]) {
			return false, &model.ValueError{Column: c.Name, Reason: "it is computed as infinite, which an answer cannot repeat"}
		}
		returned[i] = result[j]
	}
	return true, nil
}

func infinite(kind string, v rowsql.Value) bool {
	return !v.Null && (kind == "float64" && math.IsInf(v.Float(), 0) || kind == "float32" && math.IsInf(float64(v.Float32()), 0))
}

// Results computes all results of the last plan, as training has them, however old rows are.
// They are nil if a query leaves the row out, and stay until the next call. old says that a row
// is older than its max_age.
func (r *Row) Results(request []rowsql.Value) (result []rowsql.Value, old *TooOldError, err error) {
	have, columns, first := request, r.f.columns, 0
	var a *asked
	r.missed = r.missed[:0]
	if r.f.calls() {
		if a = r.askedOf(request); a.err != nil {
			return nil, nil, a.err
		}
		if first = a.link + 1; first > 0 {
			have, columns, old, r.seen = a.values, r.f.links[a.link].results, a.old, a.seen
			r.missed = append(r.missed, a.missed...)
		}
	}
	if h := r.f.history; h != nil {
		r.self = h.requestKey(r.self[:0], request)
		h.mu.RLock()
		defer h.mu.RUnlock()
	}
	for i := first; i < len(r.f.links); i++ {
		l, x := r.f.links[i], &r.links[i]
		x.fill(l, columns, have)
		if l.call != nil {
			return nil, nil, r.wantCall(a, i, x.in, old)
		}
		if h := r.f.history; h != nil && h.link == i {
			x.row.Past(h.past, r.self)
			r.seen = h.position
		}
		if kept, err := l.Run(x.row, r.f.rows[i], x.in, x.out); err != nil || !kept {
			return nil, nil, err
		}
		for _, o := range l.optional {
			if x.row.Lacks(o.lookup) && !slices.Contains(r.missed, o.says) {
				r.missed = append(r.missed, o.says)
			}
		}
		for j, most := range l.maxAge {
			if age := x.row.Age(j); most != noLimit && age > most && old == nil {
				unit := time.Microsecond
				if l.plan.Lookups[j].After.Type == "DATE" {
					unit = 24 * time.Hour
				}
				old = &TooOldError{l.plan.Lookups[j].Input.Name, times(age, unit), times(most, unit)}
			}
		}
		if err := x.store(l); err != nil {
			return nil, nil, err
		}
		have, columns = x.out, l.results
	}
	return have, old, nil
}

// fill sets what a plan reads, as a table has it.
func (x *rowOf) fill(l *link, columns ir.Schema, have []rowsql.Value) {
	for j, k := range l.read {
		x.in[j] = have[k]
		rowsql.Store(&columns[k], &x.in[j])
	}
}

// store makes what a plan has computed what a table has.
func (x *rowOf) store(l *link) error {
	for j := range l.results {
		c := &l.results[j]
		if rowsql.Store(c, &x.out[j]); !holds(c, &x.out[j]) {
			return &model.ValueError{Column: c.Name, Reason: "it is computed as null or NaN, which the column cannot be"}
		}
	}
	return nil
}

// holds reports whether a table may have a value. Training fails where it may not.
func holds(c *ir.Column, v *rowsql.Value) bool {
	switch {
	case v.Null:
		return c.Nullable
	case c.NaN:
		return true
	case c.Type == "float64":
		return !math.IsNaN(v.Float())
	case c.Type == "float32":
		return !math.IsNaN(float64(v.Float32()))
	}
	return true
}

// times multiplies, up to the longest time there is.
func times(n int64, unit time.Duration) time.Duration {
	if n > int64((1<<63-1)/unit) {
		return 1<<63 - 1
	}
	return time.Duration(n) * unit
}
