package rowsql

import "slices"

// A Window computes values from a row and the rows before it with the same Partition. Those are
// a [History], which a caller keeps. Of two rows, the one before the other has the lesser
// Order, of which the first is a time.
type Window struct {
	Partition []*Expr       `json:"partition,omitempty"`
	Order     []*Expr       `json:"order"`
	Values    []WindowValue `json:"values"`
}

// A WindowValue is one value of a window.
type WindowValue struct {
	Slot   int    `json:"slot"`
	Name   string `json:"name,omitempty"` // of the column
	Func   string `json:"func"`           // "count", "sum", "avg", "min", "max", "first", "last", "lag" or "row_number"
	Type   string `json:"type"`
	Arg    *Expr  `json:"arg,omitempty"`
	Filter *Expr  `json:"filter,omitempty"`
	// Start and End bound the times of the rows that count, both included.
	Start *Expr `json:"start,omitempty"`
	End   *Expr `json:"end,omitempty"`
	// Rows is the number of earlier rows that count, without Start; -1 is all. Skip is how many
	// of the latest do not.
	Rows int64 `json:"rows"`
	Skip int64 `json:"skip,omitempty"`
	// Current says that the row itself counts.
	Current bool `json:"current,omitempty"`
	// Ordered says that the value is undefined if two rows have the same Order: DuckDB takes
	// either as the first, or counts one that comes later.
	Ordered bool `json:"ordered,omitempty"`
	// Of "lag": how many rows before, and the value if there is none.
	Offset  int64 `json:"offset,omitempty"`
	Default *Expr `json:"default,omitempty"`
	At      int   `json:"at"` // the byte in the query, or -1
}

func (v *WindowValue) exprs() []*Expr { return []*Expr{v.Arg, v.Filter, v.Start, v.End, v.Default} }

// exprs are all expressions of a window, which may be nil.
func (w *Window) exprs() []*Expr {
	if w == nil {
		return nil
	}
	all := slices.Concat(w.Partition, w.Order)
	for i := range w.Values {
		all = append(all, w.Values[i].exprs()...)
	}
	return all
}

// kept returns the window with the values that are read.
func (w *Window) kept(read []bool) *Window {
	c := *w
	c.Values = slices.DeleteFunc(slices.Clone(w.Values), func(v WindowValue) bool { return !read[v.Slot] })
	return &c
}

// moved returns the window with the values that are read, whose slots follow those of next.
func (w *Window) moved(read []bool, slots []int, next *int, move func(*Expr) *Expr) *Window {
	c := w.kept(read)
	all := func(exprs []*Expr) (moved []*Expr) {
		for _, e := range exprs {
			moved = append(moved, move(e))
		}
		return moved
	}
	c.Partition, c.Order = all(w.Partition), all(w.Order)
	for i := range c.Values {
		v := &c.Values[i]
		slots[v.Slot] = *next
		v.Slot, v.Arg, v.Filter, v.Start, v.End, v.Default = *next, move(v.Arg), move(v.Filter), move(v.Start), move(v.End), move(v.Default)
		*next++
	}
	return c
}

// Windows is the number of windows of a plan.
func (p *Plan) Windows() (n int) {
	for _, s := range p.Steps {
		if s.Window != nil {
			n++
		}
	}
	return n
}

// nested refuses a window over what another window computes: the events of its history would
// depend on another history.
func (p *Plan) nested() error {
	computed := make([]bool, p.Slots) // from a window
	from := func(exprs ...*Expr) (found bool) {
		for _, e := range exprs {
			e.each(func(x *Expr) { found = found || x.Op == "slot" && computed[x.Index] })
		}
		return found
	}
	at, below := -1, false // a join or a condition depends on a window
	for _, s := range p.Steps {
		switch {
		case s.Filter != nil:
			below = below || from(s.Filter)
		case s.Compute != nil:
			computed[s.Compute.Slot] = from(s.Compute.Expr)
		case s.Join != nil:
			below = below || from(slices.Concat(s.Join.Keys, s.Join.Where, []*Expr{s.Join.At})...)
		case s.Window != nil:
			at = s.Window.Values[0].At
			if below || from(s.Window.exprs()...) {
				return refuse(at, "a window over what another window computes is not computed for one row")
			}
			for _, v := range s.Window.Values {
				computed[v.Slot] = true
			}
		}
	}
	return nil
}
