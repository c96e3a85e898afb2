package rowsql

import (
	"errors"
	"slices"
)

// A part of a query that cannot be computed row by row matters only if it is needed. An
// expression with the operator "refused" stands for it: its arguments are what it depends on,
// and its refusal says why it is not computed.
const refused = "refused"

// refusedExpr returns an expression that cannot be computed, instead of those.
func refusedExpr(r *Refusal, typ string, instead ...*Expr) *Expr {
	return &Expr{Op: refused, Type: typ, Args: leaves(instead), At: r.Offset, refusal: r}
}

// leaves returns the values that expressions read, each once.
func leaves(exprs []*Expr) (all []*Expr) {
	for _, e := range exprs {
		e.each(func(x *Expr) {
			if (x.Op == "slot" || x.Op == "lookup") && !slices.ContainsFunc(all, func(y *Expr) bool { return y.Op == x.Op && y.Index == x.Index && y.From == x.From }) {
				all = append(all, x)
			}
		})
	}
	return all
}

// refusedBy returns why an expression cannot be computed, if it has a part that cannot.
func (e *Expr) refusedBy() (r *Refusal) {
	e.each(func(x *Expr) {
		if r == nil {
			r = x.refusal
		}
	})
	return r
}

// checked returns an expression of the relation, or one that stands for it if it cannot be
// computed.
func (r *relation) checked(e *Expr) (*Expr, error) {
	if e.Op == refused {
		return e, nil
	}
	refusal := e.refusedBy()
	if refusal == nil {
		_, err := r.builder(r.lookups...).expr(e)
		if err == nil {
			return e, nil
		}
		if !errors.As(err, &refusal) {
			return nil, err
		}
	}
	return refusedExpr(refusal, e.Type, e), nil
}

// builder returns a builder that has all that the relation computes by now.
func (r *relation) builder(lookups ...Lookup) *builder {
	b := &builder{slots: r.types, lookups: lookups, joined: make([]bool, len(lookups))}
	for i := range b.joined {
		b.joined[i] = true
	}
	return b
}

// reads returns the values that an expression reads.
func (x *boundExpr) reads(in []column) (all []*Expr) {
	if x.Class == "BOUND_REF" && x.Index < len(in) && in[x.Index].expr != nil {
		all = append(all, in[x.Index].expr)
	}
	for _, p := range x.parts() {
		all = append(all, p.reads(in)...)
	}
	return all
}

// except returns the columns of a join that cannot be computed: those of its left side, and
// as many others as its right side has.
func (r *relation) except(n *boundPlan, left []column, refusal *Refusal) ([]column, error) {
	var deciding []*Expr // what it compares of its left side
	for _, c := range n.Conditions {
		deciding = append(deciding, c.Left.reads(left)...)
	}
	cols := slices.Clone(left)
	switch n.JoinType {
	case "INNER", "SEMI", "ANTI":
		// It drops rows.
		r.steps = append(r.steps, Step{Filter: refusedExpr(refusal, "BOOLEAN", deciding...)})
	case "LEFT", "SINGLE", "MARK":
	default:
		return nil, refusal
	}
	width := 0
	switch n.JoinType {
	case "MARK":
		width = 1
	case "SEMI", "ANTI":
	default:
		var ok bool
		if width, ok = n.Children[1].width(); !ok {
			return nil, refusal
		}
	}
	for range width {
		cols = append(cols, column{"", refusedExpr(refusal, "NULL", deciding...)})
	}
	return cols, nil
}

// width returns how many columns a node has, if that is known.
func (n *boundPlan) width() (int, bool) {
	child := func(i int) int {
		if i >= len(n.Children) {
			return -1
		}
		if w, ok := n.Children[i].width(); ok {
			return w
		}
		return -1
	}
	w := -1
	switch n.Type {
	case "LOGICAL_PROJECTION":
		w = len(n.Expressions)
	case "LOGICAL_GET":
		w = len(n.Columns)
	case "LOGICAL_AGGREGATE_AND_GROUP_BY":
		w = len(n.Groups) + len(n.Expressions)
	case "LOGICAL_WINDOW":
		if w = child(0); w >= 0 {
			w += len(n.Expressions)
		}
	case "LOGICAL_FILTER", "LOGICAL_ORDER_BY", "LOGICAL_LIMIT", "LOGICAL_TOP_N", "LOGICAL_DISTINCT", "LOGICAL_UNION", "LOGICAL_EXCEPT", "LOGICAL_INTERSECT":
		w = child(0)
	case "LOGICAL_MATERIALIZED_CTE":
		w = child(1)
	case "LOGICAL_CTE_REF":
		w = len(n.Bound)
	}
	return w, w >= 0
}

// single reports whether a node has exactly one row, as a subquery that only aggregates.
func (n *boundPlan) single() bool {
	switch {
	case n.Type == "LOGICAL_PROJECTION" && len(n.Children) == 1:
		return n.Children[0].single()
	case n.Type == "LOGICAL_AGGREGATE_AND_GROUP_BY":
		return len(n.Groups) == 0
	}
	return false
}

// Refusals says why outputs, and the conditions that are left, cannot be computed for a caller
// who does not have the excluded columns: one for each part of the query. The outputs are
// those of [Plan.Serve].
func (p *Plan) Refusals(excluded, outputs []string) []*Refusal {
	return p.trace(excluded).refusals(outputs)
}

func (t *trace) refusals(outputs []string) (all []*Refusal) {
	said := map[*Refusal]*Refusal{}
	of := func(e *Expr) *Refusal {
		r := e.refusedBy()
		if r != nil && said[r] == nil {
			c := *r
			said[r] = &c
			all = append(all, &c)
		}
		return said[r]
	}
	for i, o := range t.plan.Outputs {
		if !t.Outputs[i].Training && (outputs == nil || slices.Contains(outputs, o.Name)) {
			if r := of(o.Expr); r != nil {
				r.Outputs = append(r.Outputs, o.Name)
			}
		}
	}
	for i, s := range t.plan.Steps {
		if s.Filter != nil && !t.dropped[i] {
			if r := of(s.Filter); r != nil {
				r.Condition = true
			}
		}
	}
	return all
}

// computed returns the plan without what is refused.
func (p *Plan) computed() *Plan {
	c := *p
	c.Outputs = slices.DeleteFunc(slices.Clone(p.Outputs), func(o Output) bool { return o.Expr.refusal != nil })
	c.Steps = slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.Filter != nil && s.Filter.refusal != nil })
	return &c
}
