package rowsql

import (
	"fmt"
	"slices"
	"strings"
)

// A Use says what a part of a plan needs.
type Use struct {
	Name string // of an output; empty for a filter
	// Columns are those of the request, and Lookups the tables, that decide the value.
	Columns []string
	Lookups []string
	// Training is set if the value needs an excluded column. Path leads there: the names of
	// what is computed from one another, with the excluded column last.
	Training bool
	Path     []string
	Offset   int // the byte in the query, or -1
}

// An Analysis says what each part of a plan needs.
type Analysis struct {
	Outputs []Use
	Filters []Use // conditions, and inner joins, which drop rows as well
}

// An Unavailable is an output that is needed when a request is served, but computed from
// a column that the caller does not have.
type Unavailable struct{ Use }

func (e *Unavailable) Error() string {
	return fmt.Sprintf("%s cannot be computed when a request is served: %s", e.Name, strings.Join(e.Path, " <- "))
}

// Analyse says what the outputs and filters of a plan need, if the caller does not have
// some columns of the request.
func (p *Plan) Analyse(excluded []string) Analysis { return p.trace(excluded).Analysis }

// Serve returns the plan that computes some outputs for a caller who does not have the
// excluded columns, and who therefore does not send them. It leaves out the filters that
// need them, and all that nothing needs any more. An output that needs them is an
// [*Unavailable]; nil outputs are all that do not. What is needed and cannot be computed is a
// [*Refusal].
func (p *Plan) Serve(excluded, outputs []string) (*Plan, error) {
	for _, name := range excluded {
		if !slices.ContainsFunc(p.Request.Columns, func(c Column) bool { return c.Name == name }) {
			return nil, fmt.Errorf("the excluded column %q is not in %q", name, p.Request.Name)
		}
	}
	t := p.trace(excluded)
	var kept []Output
	for i, o := range p.Outputs {
		use := t.Outputs[i]
		switch {
		case outputs == nil && use.Training, outputs != nil && !slices.Contains(outputs, o.Name):
			continue
		case use.Training:
			return nil, &Unavailable{use}
		}
		kept = append(kept, o)
	}
	if all := t.refusals(outputs); len(all) > 0 {
		return nil, all[0]
	}
	for _, name := range outputs {
		if !slices.ContainsFunc(kept, func(o Output) bool { return o.Name == name }) {
			return nil, fmt.Errorf("the query does not compute %q", name)
		}
	}
	return p.prune(excluded, kept, t.dropped), nil
}

// WindowRows is in the path to a condition that decides which rows a window goes over.
const WindowRows = "the rows of its window"

// A trace follows the values of a plan.
type trace struct {
	Analysis
	plan    *Plan
	slots   []Use
	joined  []Use
	dropped map[int]bool // steps for training only
}

func (p *Plan) trace(excluded []string) *trace {
	t := &trace{plan: p, slots: make([]Use, p.Slots), joined: make([]Use, len(p.Lookups)), dropped: map[int]bool{}}
	for i, c := range p.Request.Columns {
		u := Use{Name: p.Request.Name + "." + c.Name, Columns: []string{c.Name}, Offset: -1}
		if slices.Contains(excluded, c.Name) {
			u.Training, u.Path = true, []string{u.Name}
		}
		t.slots[i] = u
	}
	for i, s := range p.Steps {
		switch {
		case s.Filter != nil:
			u := t.use("", s.Filter)
			t.dropped[i] = u.Training
			t.Filters = append(t.Filters, u)
		case s.Compute != nil:
			t.slots[s.Compute.Slot] = t.use(s.Compute.Name, s.Compute.Expr)
		case s.Join != nil:
			l := s.Join.Lookup
			table := p.Lookups[l].Input.Name
			// What the conditions read of the lookup itself is not what decides it.
			u := t.use("the row of "+table, slices.Concat(s.Join.Keys, []*Expr{s.Join.At}, s.Join.Where)...)
			u.Lookups = with(u.Lookups, table)
			t.joined[l] = u
			if s.Join.Inner {
				t.dropped[i] = u.Training
				t.Filters = append(t.Filters, u)
			}
		case s.Window != nil:
			for _, v := range s.Window.Values {
				// Which rows a window has depends on the conditions below it.
				u := t.use(v.Name, slices.Concat(s.Window.Partition, s.Window.Order, v.exprs())...)
				for _, f := range t.Filters {
					if f.Training && !u.Training {
						u.Training, u.Path, u.Offset = true, append([]string{WindowRows}, f.Path...), max(u.Offset, f.Offset)
					}
				}
				t.slots[v.Slot] = u
			}
		}
	}
	for _, o := range p.Outputs {
		u := t.use(o.Name, o.Expr)
		if len(u.Path) > 1 && u.Path[1] == o.Name {
			u.Path = u.Path[1:] // the output is the computed column of its name
		}
		t.Outputs = append(t.Outputs, u)
	}
	return t
}

// use joins what expressions need.
func (t *trace) use(name string, exprs ...*Expr) Use {
	u := Use{Name: name, Offset: -1}
	for _, e := range exprs {
		e.each(func(x *Expr) {
			if u.Offset < 0 {
				u.Offset = x.At
			}
			var from Use
			switch x.Op {
			case "slot":
				from = t.slots[x.Index]
			case "lookup":
				from = t.joined[x.From]
			default:
				return
			}
			for _, c := range from.Columns {
				u.Columns = with(u.Columns, c)
			}
			for _, l := range from.Lookups {
				u.Lookups = with(u.Lookups, l)
			}
			if from.Training && !u.Training {
				u.Training = true
				if u.Path = slices.Clone(from.Path); name != "" {
					u.Path = append([]string{name}, u.Path...)
				}
				u.Offset = max(u.Offset, from.Offset)
			}
		})
	}
	return u
}

func with(all []string, s string) []string {
	if slices.Contains(all, s) {
		return all
	}
	return append(all, s)
}

// prune returns a plan of some outputs without the dropped steps.
func (p *Plan) prune(excluded []string, outputs []Output, dropped map[int]bool) *Plan {
	slots, lookups := make([]bool, p.Slots), make([]bool, len(p.Lookups))
	need := func(exprs ...*Expr) {
		for _, e := range exprs {
			e.each(func(x *Expr) {
				switch x.Op {
				case "slot":
					slots[x.Index] = true
				case "lookup":
					lookups[x.From] = true
				}
			})
		}
	}
	for _, o := range outputs {
		need(o.Expr)
	}
	keep := make([]bool, len(p.Steps))
	for i, s := range slices.Backward(p.Steps) {
		switch {
		case dropped[i]:
		case s.Filter != nil:
			keep[i] = true
			need(s.Filter)
		case s.Compute != nil && slots[s.Compute.Slot]:
			keep[i] = true
			need(s.Compute.Expr)
		case s.Join != nil && (s.Join.Inner || lookups[s.Join.Lookup]):
			keep[i], lookups[s.Join.Lookup] = true, true
			need(slices.Concat(s.Join.Keys, []*Expr{s.Join.At}, s.Join.Where)...)
		case s.Window != nil:
			if w := s.Window.kept(slots); len(w.Values) > 0 {
				keep[i] = true
				need(w.exprs()...)
			}
		}
	}
	return p.renumber(excluded, outputs, keep, lookups, slots)
}

// renumber copies what is kept of a plan.
func (p *Plan) renumber(excluded []string, outputs []Output, keep, lookups, read []bool) *Plan {
	out := &Plan{Version: p.Version, Request: Input{Name: p.Request.Name}}
	slots, tables := make([]int, p.Slots), make([]int, len(p.Lookups))
	for i, c := range p.Request.Columns {
		if !slices.Contains(excluded, c.Name) {
			slots[i] = len(out.Request.Columns)
			out.Request.Columns = append(out.Request.Columns, c)
		}
	}
	out.Slots = len(out.Request.Columns)
	for i, l := range p.Lookups {
		if lookups[i] {
			tables[i] = len(out.Lookups)
			out.Lookups = append(out.Lookups, l)
		}
	}
	var move func(e *Expr) *Expr
	moveAll := func(all []*Expr) []*Expr {
		var moved []*Expr
		for _, e := range all {
			moved = append(moved, move(e))
		}
		return moved
	}
	move = func(e *Expr) *Expr {
		if e == nil {
			return nil
		}
		c := *e
		switch e.Op {
		case "slot":
			c.Index = slots[e.Index]
		case "lookup":
			c.From = tables[e.From]
		}
		c.Args = moveAll(e.Args)
		return &c
	}
	for i, s := range p.Steps {
		switch {
		case !keep[i]:
		case s.Filter != nil:
			out.Steps = append(out.Steps, Step{Filter: move(s.Filter)})
		case s.Compute != nil:
			slots[s.Compute.Slot] = out.Slots
			out.Steps = append(out.Steps, Step{Compute: &Compute{out.Slots, s.Compute.Name, move(s.Compute.Expr)}})
			out.Slots++
		case s.Join != nil:
			j := *s.Join
			j.Lookup, j.Keys, j.At, j.Where = tables[j.Lookup], moveAll(j.Keys), move(j.At), moveAll(j.Where)
			out.Steps = append(out.Steps, Step{Join: &j})
		case s.Window != nil:
			out.Steps = append(out.Steps, Step{Window: s.Window.moved(read, slots, &out.Slots, move)})
		}
	}
	for _, o := range outputs {
		out.Outputs = append(out.Outputs, Output{o.Name, o.Type, move(o.Expr)})
	}
	return out
}
