package rowsql

import "fmt"

// A Program computes the rows of a plan. It is safe for concurrent use; a [Row] is not.
type Program struct {
	plan    *Plan
	steps   []step
	outputs []eval
	lookups []*lookup
	windows []*window
	record  []step // those up to the last window
}

// A Row is the memory in which one row after another is computed.
type Row struct {
	slots  []Value
	found  [][]Value  // the row of each lookup; nil if there is none
	memory [][]Value  // for them
	asof   [][2]Value // of each row that ASOF found: the value of the request, and its own
	tables []*Rows
	err    *Error
	key    []byte     // of a lookup
	past   []*History // of each window
	self   []byte     // the key of the row itself, among the events of the histories
	event  *Event     // that is recorded, or nil
	values []Value    // of the windows

	// Fetched has the rows of each lookup that is in a store, and nil for tables in memory.
	// Without any lookup in a store, it is nil.
	Fetched []*Fetched
	missing bool // a row that is not fetched was needed
}

// An Error is what DuckDB would report about the values of a row.
type Error struct {
	Message string
	Offset  int // the byte in the query, or -1
	// Refused says that DuckDB has a result, which is wrong or depends on other rows.
	Refused bool
}

func (e *Error) Error() string { return e.Message }

// An eval computes an expression. What fails sets the error of the row and returns null.
type eval func(*Row) Value

// A step returns false if it drops the row.
type step func(*Row) bool

func (r *Row) fail(err *Error) Value {
	if r.err == nil {
		r.err = err
	}
	return Null
}

// Load turns a plan into closures. A plan that this package did not write is an error.
func Load(p *Plan) (*Program, error) {
	if p.Version != Version {
		return nil, fmt.Errorf("the plan has version %d, wanted %d", p.Version, Version)
	}
	prog := &Program{plan: p}
	for i := range p.Lookups {
		l, err := loadLookup(&p.Lookups[i])
		if err != nil {
			return nil, err
		}
		prog.lookups = append(prog.lookups, l)
	}
	b, err := newBuilder(p.Request, p.Slots, p.Lookups)
	if err != nil {
		return nil, err
	}
	if prog.steps, err = b.steps(p.Steps); err != nil {
		return nil, err
	}
	for i, s := range p.Steps {
		if s.Window != nil {
			prog.record = prog.steps[:i+1]
		}
	}
	prog.windows = b.windows
	prog.outputs, err = b.outputs(p.Outputs)
	return prog, err
}

// NewRow returns memory for one goroutine.
func (p *Program) NewRow() *Row { return newRow(p.plan.Slots, p.plan.Lookups) }

func newRow(slots int, lookups []Lookup) *Row {
	r := &Row{slots: make([]Value, slots), found: make([][]Value, len(lookups)), asof: make([][2]Value, len(lookups)), key: make([]byte, 0, 64)}
	for _, l := range lookups {
		r.memory = append(r.memory, make([]Value, len(l.Outputs)))
	}
	return r
}

// Run computes the outputs of one row of the request, whose values are in the order of
// the plan's columns. tables has the rows of each lookup of the plan. Run reports false
// if the query drops the row. An error about the values is an [*Error]; [ErrMissing] asks for
// rows of stores.
func (p *Program) Run(r *Row, tables []*Rows, request, out []Value) (bool, error) {
	if len(request) != len(p.plan.Request.Columns) || len(out) != len(p.outputs) || len(tables) != len(p.lookups) {
		return false, fmt.Errorf("a row has %d values, %d outputs and %d tables, wanted %d, %d and %d",
			len(request), len(out), len(tables), len(p.plan.Request.Columns), len(p.outputs), len(p.lookups))
	}
	if len(r.past) != len(p.windows) {
		return false, fmt.Errorf("a row has %d histories, wanted %d", len(r.past), len(p.windows))
	}
	copy(r.slots, request)
	r.tables, r.event = tables, nil
	return r.run(p.steps, p.outputs, out)
}

func (r *Row) run(steps []step, outputs []eval, out []Value) (bool, error) {
	r.err, r.missing = nil, false
	clear(r.found)
	for _, s := range steps {
		keep := s(r)
		if r.missing && (!keep || r.err != nil) {
			return false, ErrMissing
		}
		if r.err != nil {
			return false, r.err
		}
		if !keep {
			return false, nil
		}
	}
	if r.missing {
		return false, ErrMissing
	}
	for i, o := range outputs {
		out[i] = o(r)
	}
	if r.err != nil {
		return false, r.err
	}
	return true, nil
}
