package rowsql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// join adds a lookup: the right side of a join, made of another input.
func (r *relation) join(n *boundPlan) ([]column, error) {
	if len(n.LeftMap) > 0 || len(n.RightMap) > 0 || n.Predicate != nil {
		return nil, refuse(-1, "DuckDB's plan of a join has a form that is not supported")
	}
	left, err := r.compile(n.Children[0])
	if err != nil {
		return nil, err
	}
	cols, err := r.lookup(n, left)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return r.except(n, left, refusal)
	}
	return cols, err
}

// lookup adds what a join finds, or refuses the join.
func (r *relation) lookup(n *boundPlan, left []column) ([]column, error) {
	at := -1
	for _, c := range n.Conditions {
		at = max(at, c.Left.at(), c.Right.at())
	}
	if n.JoinType == "MARK" {
		return nil, refuse(at, "IN or EXISTS with a subquery is not computed row by row")
	}
	if n.JoinType != "LEFT" && n.JoinType != "INNER" {
		return nil, refuse(at, "a %s join is not computed row by row: the request is the left table, use LEFT JOIN or JOIN", n.JoinType)
	}
	inner := &relation{c: r.c.closures()}
	right, err := inner.compile(n.Children[1])
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(inner.steps, func(s Step) bool { return s.Window != nil }) {
		return nil, refuse(at, "a window over a joined table is not computed for one row: only one over the rows of %q is", r.input.Name)
	}
	if len(inner.lookups) > 0 {
		return nil, refuse(at, "the right side of a join is a join itself: join one table after another")
	}
	for _, s := range inner.steps {
		if s.Filter != nil && s.Filter.refusal != nil {
			return nil, s.Filter.refusal
		}
	}
	index := len(r.lookups)
	look := Lookup{Input: inner.input, Slots: inner.slots, Steps: inner.steps}
	for _, c := range right {
		if c.expr == nil || c.expr.Op == refused {
			c.expr = &Expr{Op: "constant", Type: "NULL", At: -1} // nothing reads it
		}
		look.Outputs = append(look.Outputs, Output{c.name, c.expr.Type, c.expr})
	}
	join := &Join{Lookup: index, Inner: n.JoinType == "INNER"}
	if err := r.conditions(n, join, &look, left, right); err != nil {
		return nil, err
	}
	if !inner.unique(right, keyOutputs(look)) {
		return nil, &Refusal{
			Reason: fmt.Sprintf("a row of %q may be joined with several rows of %q, because no declared key of it is compared: declare its keys", r.input.Name, inner.input.Name),
			Offset: at, Lookup: inner.input.Name,
		}
	}
	if err := r.joins(join, look); err != nil {
		return nil, err
	}
	r.lookups = append(r.lookups, look)
	r.steps = append(r.steps, Step{Join: join})
	cols := slices.Clone(left)
	for i, o := range look.Outputs {
		e := &Expr{Op: "lookup", Type: o.Type, From: index, Index: i, At: -1}
		if right[i].expr != nil && right[i].expr.Op == refused {
			e = refusedExpr(right[i].expr.refusal, right[i].expr.Type, e)
		}
		cols = append(cols, column{o.Name, e})
	}
	return cols, nil
}

// joins reports why a join cannot be computed.
func (r *relation) joins(join *Join, look Lookup) error {
	for _, e := range slices.Concat(join.Keys, join.Where, look.Keys, []*Expr{join.At, look.After}) {
		if refusal := e.refusedBy(); refusal != nil {
			return refusal
		}
	}
	if _, err := loadLookup(&look); err != nil {
		return err
	}
	b := r.builder(append(slices.Clone(r.lookups), look)...)
	b.joined[join.Lookup] = false
	_, err := b.join(join)
	return err
}

// otherJoin makes the columns of a join of which the right side is never computed.
func (r *relation) otherJoin(n *boundPlan) ([]column, error) {
	left, err := r.compile(n.Children[0])
	if err != nil {
		return nil, err
	}
	join, what := *n, clauses[n.Type]
	if n.Type == "LOGICAL_CROSS_PRODUCT" {
		join.JoinType = "INNER"
		if n.Children[1].single() {
			join.JoinType, what = "SINGLE", "a subquery that aggregates a table"
		}
	}
	return r.except(&join, left, n.refused(what))
}

// conditions divides the conditions of a join into keys, the inequality of ASOF, and others.
func (r *relation) conditions(n *boundPlan, join *Join, look *Lookup, left, right []column) error {
	rows := make([]column, len(right)) // the right side for keys: a row of the lookup
	both := make([]column, len(right)) // and for other conditions
	for i, o := range look.Outputs {
		rows[i] = column{o.Name, &Expr{Op: "slot", Type: o.Type, Index: i, At: -1}}
		both[i] = column{o.Name, &Expr{Op: "lookup", Type: o.Type, From: join.Lookup, Index: i, At: -1}}
		if e := right[i].expr; e != nil && e.Op == refused {
			rows[i].expr, both[i].expr = e, e
		}
	}
	for _, c := range n.Conditions {
		l, err := r.c.expression(c.Left, left)
		if err != nil {
			return err
		}
		op, at := comparisons[c.Comparison], max(c.Left.at(), c.Right.at())
		if n.Type == "LOGICAL_ASOF_JOIN" && strings.ContainsAny(op, "<>") {
			if join.Asof != "" {
				return refuse(at, "an ASOF join has one inequality")
			}
			join.Asof, join.At = op, l
			if look.After, err = r.c.closures().expression(c.Right, rows); err != nil {
				return err
			}
			continue
		}
		switch op {
		case "=", "is not distinct from":
			key, err := r.c.closures().expression(c.Right, rows)
			if err != nil {
				return err
			}
			join.Keys, look.Keys = append(join.Keys, l), append(look.Keys, key)
			look.Nulls = append(look.Nulls, op != "=")
		default:
			if n.Type == "LOGICAL_ASOF_JOIN" || op == "" {
				return refuse(at, "an ASOF join compares with = and one inequality")
			}
			right, err := r.c.expression(c.Right, both)
			if err != nil {
				return err
			}
			join.Where = append(join.Where, &Expr{Op: "compare", Name: op, Type: "BOOLEAN", Args: []*Expr{l, right}, At: at})
		}
	}
	if n.Type == "LOGICAL_ASOF_JOIN" && join.Asof == "" {
		return refuse(-1, "an ASOF join has one inequality")
	}
	return nil
}

// keyOutputs returns the columns of a lookup that are compared as they are. A cast to
// another type may make two values equal.
func keyOutputs(l Lookup) []int {
	var cols []int
	for _, k := range append(slices.Clone(l.Keys), l.After) {
		for k != nil && k.Op == "cast" && keepsDistinct(k.Args[0].Type, k.Type) {
			k = k.Args[0]
		}
		if k != nil && k.Op == "slot" {
			cols = append(cols, k.Index)
		}
	}
	return cols
}

// keepsDistinct reports whether a cast keeps different values different.
func keepsDistinct(from, to string) bool {
	a, errA := parseType(from)
	b, errB := parseType(to)
	if errA != nil || errB != nil {
		return false
	}
	whole := func(c class) bool { return c.signed() || c.unsigned() }
	return whole(a.class) && (whole(b.class) || b.class == hugeint || b.class == decimal) || a.class == date && b.class == timestamp
}

// unique reports whether a declared key of the input is among some columns of the relation.
func (r *relation) unique(cols []column, compared []int) bool {
	var names []string
	for _, i := range compared {
		if e := cols[i].expr; e != nil && e.Op == "slot" && e.Index < len(r.input.Columns) {
			names = append(names, r.input.Columns[e.Index].Name)
		}
	}
	i := slices.IndexFunc(r.c.tables, func(t Table) bool { return t.Name == r.input.Name })
	if i < 0 {
		return false
	}
	t := r.c.tables[i]
	keys := slices.Clone(t.Keys)
	for _, c := range t.Schema {
		if c.Unique {
			keys = append(keys, []string{c.Name})
		}
	}
	return slices.ContainsFunc(keys, func(key []string) bool {
		return len(key) > 0 && !slices.ContainsFunc(key, func(k string) bool { return !slices.Contains(names, k) })
	})
}
