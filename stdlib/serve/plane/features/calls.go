package features

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Call is a plan whose columns a function in Python computes.
type Call struct {
	Plan     int             `json:"plan"`
	Feature  string          `json:"feature"` // "features.speed"
	Script   string          `json:"script"`  // in the folder with the code of the unit
	Function string          `json:"function"`
	Args     json.RawMessage `json:"args,omitempty"`
	Columns  ir.Schema       `json:"columns"` // that it gets
	Makes    ir.Schema       `json:"makes"`   // that it returns
	// Environment is the digest of the lock of the environment in which it runs; "" is that of
	// the unit.
	Environment string `json:"environment,omitempty"`
	// Private says that it gets values which no log may show.
	Private bool `json:"private,omitempty"`
}

// A Function computes columns of rows. It is safe for concurrent use.
type Function interface {
	// Compute computes n rows of [Call.Makes] from those of [Call.Columns]; rows follow one
	// another. errs says of each row why it has no result, or nil. err is about all rows.
	Compute(ctx context.Context, values []rowsql.Value, n int) (results []rowsql.Value, errs []error, err error)
}

// call is a plan that a function computes.
type call struct {
	Call
	function Function
	gets     []int // of each column that the function gets, where the plan reads it
	outputs  []int // of each output, where the plan reads it, or -1-i for column i of the function
}

// UseFunctions sets the functions of the calls of the spec, in their order. Without them, no
// row is computed.
func (f *Features) UseFunctions(functions []Function) {
	n := 0
	for _, l := range f.links {
		if l.call != nil {
			l.call.function = functions[n]
			n++
		}
	}
}

// calls reports whether functions in Python are asked.
func (f *Features) calls() bool { return f.callsBefore(len(f.links)) }

// callsBefore reports whether functions in Python are asked before a link.
func (f *Features) callsBefore(index int) bool {
	return slices.ContainsFunc(f.links[:index], func(l *link) bool { return l.call != nil })
}

// newCall prepares the call of a plan.
func newCall(spec Spec, index int, plan *rowsql.Plan) (*call, error) {
	i := slices.IndexFunc(spec.Calls, func(c Call) bool { return c.Plan == index })
	if i < 0 {
		return nil, errors.New("nothing says which function in Python computes it")
	}
	c := &call{Call: spec.Calls[i]}
	for _, col := range c.Columns {
		j := slices.IndexFunc(plan.Request.Columns, func(x rowsql.Column) bool { return x.Name == col.Name && x.Type == ir.Types[col.Type] })
		if j < 0 {
			return nil, fmt.Errorf("%s takes column %s, which it does not read", c.Feature, col.Name)
		}
		c.gets = append(c.gets, j)
	}
	for k, o := range plan.Outputs {
		at := plan.Copied(k)
		if at < 0 {
			j := slices.IndexFunc(c.Makes, func(x ir.Column) bool { return x.Name == o.Name && ir.Types[x.Type] == o.Type })
			if j < 0 {
				return nil, fmt.Errorf("%s does not compute column %s", c.Feature, o.Name)
			}
			at = -1 - j
		}
		c.outputs = append(c.outputs, at)
	}
	return c, nil
}

// An asked is how far a row of a request has been computed. Functions are asked for all rows of
// a request at once, so a row is computed up to a function, and continues behind it once there
// is an answer. What is before it is not computed again: windows may see further events by then.
type asked struct {
	link   int            // the last link that is computed, or -1
	values []rowsql.Value // its results
	old    *TooOldError
	seen   int64    // the position of the history with which it was computed
	missed []string // lookups that had no row for it
	err    error    // why the row cannot be computed
	wanted bool     // it is among the wants
}

// A want is a row that a function is to be asked for.
type want struct {
	to   *asked
	link int
	in   []rowsql.Value // what the plan of the link reads
}

// askedOf returns how far a row of the request has been computed.
func (r *Row) askedOf(request []rowsql.Value) *asked {
	r.key = appendExactly(r.key[:0], request)
	a := r.asked[string(r.key)]
	if a == nil {
		if r.asked == nil {
			r.asked = map[string]*asked{}
		}
		a = &asked{link: -1}
		r.asked[string(r.key)] = a
	}
	return a
}

// appendExactly appends values such that different ones differ.
func appendExactly(b []byte, values []rowsql.Value) []byte {
	for i := range values {
		v := &values[i]
		if v.Null {
			b = append(b, 0)
			continue
		}
		b = binary.LittleEndian.AppendUint64(append(b, 1), v.Bits)
		b = binary.LittleEndian.AppendUint64(b, v.High)
		b = append(binary.AppendUvarint(b, uint64(len(v.Text))), v.Text...)
	}
	return b
}

// wantCall notes that a function is to be asked for a row.
func (r *Row) wantCall(a *asked, link int, in []rowsql.Value, old *TooOldError) error {
	if !a.wanted { // and not the same row again
		a.old, a.seen, a.wanted = old, r.seen, true
		a.missed = slices.Clone(r.missed)
		r.wants = append(r.wants, want{a, link, slices.Clone(in)})
	}
	return rowsql.ErrMissing
}

// ask asks the functions for all rows that are wanted.
func (r *Row) ask(ctx context.Context) error {
	wants := r.wants
	r.wants = nil
	for i, l := range r.f.links {
		if l.call == nil {
			continue
		}
		var of []want
		for _, w := range wants {
			if w.link == i {
				of = append(of, w)
			}
		}
		if len(of) == 0 {
			continue
		}
		if err := r.askFor(ctx, i, l, of); err != nil {
			return err
		}
	}
	return nil
}

// askFor asks the function of a link for rows.
func (r *Row) askFor(ctx context.Context, index int, l *link, wants []want) error {
	if l.call.function == nil {
		return fmt.Errorf("%s cannot be computed: nothing runs its function", l.call.Feature)
	}
	values := make([]rowsql.Value, 0, len(wants)*len(l.call.gets))
	for _, w := range wants {
		for _, at := range l.call.gets {
			values = append(values, w.in[at])
		}
	}
	results, errs, err := l.call.function.Compute(ctx, values, len(wants))
	if err != nil {
		return err
	}
	n := len(l.call.Makes)
	for i, w := range wants {
		a := w.to
		a.wanted = false
		if a.err = errs[i]; a.err != nil {
			continue
		}
		x := rowOf{out: make([]rowsql.Value, len(l.results))}
		for j, at := range l.call.outputs {
			if at >= 0 {
				x.out[j] = w.in[at]
			} else {
				x.out[j] = results[i*n-1-at]
			}
		}
		if a.err = x.store(l); a.err == nil {
			a.link, a.values = index, x.out
		}
	}
	return nil
}
