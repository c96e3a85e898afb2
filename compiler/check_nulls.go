package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/internal/diag"
)

// declare sets what the declaration of a table says about a column.
func (f *factory) declare(c *facts.Column, o *out) {
	c.Null, c.Type, c.Unit, c.NaN = facts.Null{}, "", facts.Unit{}, false
	if col := o.schema.Column(c.Name); col != nil {
		c.Unit.Text, c.NaN = strings.TrimSpace(col.Unit), col.NaN
		c.Type, c.Null.Verdict = col.Type, facts.Never
		if col.Nullable {
			c.Null.Verdict = facts.Maybe
		}
	}
}

// references returns the foreign keys of a table.
func references(o *out) (all []facts.Reference) {
	for _, r := range o.entity.references {
		if r.of == o && r.out != nil {
			all = append(all, facts.Reference{Columns: r.columns, Table: r.out.entity.id() + "." + r.out.port, Keys: r.keys})
		}
	}
	return all
}

// sources adds the names of all tables that an entity is made of.
func (f *factory) sources(e *entity, to map[string]bool) {
	for _, p := range e.ports {
		if p.out == nil || to[p.out.entity.id()+"."+p.out.port] {
			continue
		}
		to[p.out.entity.id()+"."+p.out.port] = true
		f.sources(p.out.entity, to)
	}
}

// checkNulls refuses columns that are declared non-nullable and that a query can make null.
// Columns that the user trusts are only noted.
func (c *checker) checkNulls(f *factory, e *entity, o *out) {
	trust := stringsOf(e.fields.get("trust"))
	for i, name := range trust {
		if o.schema.Column(name) == nil {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s trusts a column %q that it does not have", e, name),
				Wanted:  "one of " + strings.Join(columnNames(o.schema), ", "),
				Spans:   []diag.Span{c.sys.At("", e.path("trust", fmt.Sprint(i))...)},
				Hint:    nearest(name, columnNames(o.schema)),
			})
		}
	}
	type cause struct {
		facts.Kind
		offset int
	}
	var order []cause
	columns := map[cause][]nullColumn{}
	for _, n := range f.nulls[o] {
		col := o.schema.Column(n.name)
		if col == nil || n.Verdict != facts.Maybe || col.Nullable && !col.Unique && !slices.Contains(o.keys, n.name) {
			continue
		}
		if slices.Contains(trust, n.name) {
			c.trust(e, n.name)
			continue
		}
		at := cause{n.Kind, n.Offset}
		if columns[at] == nil {
			order = append(order, at)
		}
		columns[at] = append(columns[at], n)
	}
	for _, at := range order {
		c.fail(e, c.mayBeNull(e, o, columns[at]))
	}
}

// trust notes that a column would be refused if it were not trusted.
func (c *checker) trust(e *entity, column string) {
	if !slices.Contains(c.trusted[e.id()], column) {
		c.trusted[e.id()] = append(c.trusted[e.id()], column)
	}
}

// A nullColumn is a column of a query's result with what is known about its nulls.
type nullColumn struct {
	name string
	facts.Null
}

// mayBeNull describes columns that one construct makes null.
func (c *checker) mayBeNull(e *entity, o *out, columns []nullColumn) diag.Diagnostic {
	n := columns[0]
	d := diag.Diagnostic{Message: fmt.Sprintf("%s.%s may be null, but its schema declares it non-nullable", e, n.name)}
	if len(columns) > 1 {
		var names []string
		for _, x := range columns {
			names = append(names, x.name)
		}
		d.Message = fmt.Sprintf("%s of %s may be null, but its schema declares them non-nullable", listed(names), e)
	}
	query := e.string(e.component.SQL)
	at := c.sqlSpan(e, query, n.Offset)
	at.Label = because(n)
	d.Spans = append(d.Spans, at)
	if n.Kind == facts.Declared {
		if in := e.input(n.Of.Input); in != nil && in.out != nil {
			s := c.tableColumn(in.out, n.Of.Column)
			s.Label = "declared nullable here"
			d.Spans = append(d.Spans, s)
		}
	}
	key := false
	for _, x := range columns {
		s := c.columnSpan(e, x.name)
		s.Label = "declared non-nullable here"
		if slices.Contains(o.keys, x.name) {
			key = true
			if c.sys.Written(e.path("keys")...) {
				s = c.sys.At("a key is never null", e.path("keys")...)
			}
		}
		d.Spans = append(d.Spans, s)
	}
	fixes := []string{repairs(n)}
	if n.Kind == facts.OuterJoin {
		if column, table := c.referable(e, n.Name); column != "" {
			fixes = append(fixes, fmt.Sprintf("declare references from %s to %s, which are checked when the rows are read", column, table))
		}
	}
	if !key {
		fixes = append(fixes, "set nullable: true")
	}
	if slices.Contains(e.component.Declares, "trust") {
		var names []string
		for _, x := range columns {
			names = append(names, x.name)
		}
		fixes = append(fixes, fmt.Sprintf("or set trust: [%s] if it never happens; the rows are checked in any case", quotedList(names)))
	}
	d.Hint = strings.Join(fixes, "; ")
	return d
}

// referable returns the input that may declare a reference for an outer join, and the
// table that it would refer to, if both are plain.
func (c *checker) referable(e *entity, alias string) (from, to string) {
	var other *port
	var rest []*port
	for i := range e.ports {
		if e.ports[i].name == alias {
			other = &e.ports[i]
		} else {
			rest = append(rest, &e.ports[i])
		}
	}
	if other == nil || other.out == nil || len(rest) != 1 || rest[0].out == nil || len(other.out.keys) == 0 {
		return "", ""
	}
	return rest[0].out.entity.String(), other.out.entity.String()
}

// because says which rows have the null.
func because(n nullColumn) string {
	switch n.Kind {
	case facts.Declared:
		return fmt.Sprintf("%s comes from %s, which may be null", n.name, n.Name)
	case facts.OuterJoin:
		return fmt.Sprintf("%s is null for a row without a match in %s", n.name, n.Name)
	case facts.EarlyJoin:
		return fmt.Sprintf("%s is null for a row without an earlier match in %s", n.name, n.Name)
	case facts.NoRows:
		return fmt.Sprintf("%s of no rows is null", n.Name)
	case facts.NoRow:
		return fmt.Sprintf("%s is null if this subquery finds no row", n.name)
	case facts.NoneLeft:
		return fmt.Sprintf("%s is null for a group of which FILTER leaves no row", n.name)
	case facts.NoCell:
		return fmt.Sprintf("%s is null for a group without a row for this value of PIVOT", n.name)
	case facts.Total:
		return fmt.Sprintf("%s is null in the rows of the grouping sets without it", n.name)
	case facts.OneRow:
		return fmt.Sprintf("%s of one row is null", n.Name)
	case facts.Frame:
		return fmt.Sprintf("%s is null where the frame is empty: at the edge of its partition", n.name)
	case facts.FirstRow:
		return fmt.Sprintf("%s is null in the first row of each partition", n.name)
	case facts.LastRow:
		return fmt.Sprintf("%s is null in the last row of each partition", n.name)
	case facts.Zero:
		return fmt.Sprintf("%s is null where %s is 0", n.name, n.Name)
	case facts.Cast:
		return fmt.Sprintf("%s is null where %s does not convert", n.name, n.Name)
	case facts.NullIf:
		return fmt.Sprintf("%s is null where both values are equal", n.name)
	case facts.NoElse:
		return fmt.Sprintf("%s is null where no WHEN holds: this CASE has no ELSE", n.name)
	case facts.NullValue:
		return fmt.Sprintf("%s is null here", n.name)
	case facts.NoText:
		return fmt.Sprintf("%s is null for a text that does not fit", n.name)
	case facts.NoColumn:
		return fmt.Sprintf("only one side of the UNION has %s; it is null in the rows of the other", n.name)
	}
	return ""
}

// repairs says how to change the query.
func repairs(n nullColumn) string {
	fill := "use coalesce(..., 0)"
	switch n.Kind {
	case facts.OuterJoin:
		return "use JOIN instead of an outer join, or coalesce for rows without a match"
	case facts.EarlyJoin:
		return "use ASOF JOIN instead of ASOF LEFT JOIN, or coalesce for rows without a match"
	case facts.NoElse:
		return "add an ELSE"
	case facts.NullValue:
		return "give another value"
	case facts.FirstRow, facts.LastRow:
		return fmt.Sprintf("give %s a default, as in %[1]s(x, 1, 0)", n.Name)
	case facts.Zero:
		return fmt.Sprintf("declare bounds of %s that exclude 0, select rows with %[1]s <> 0, or use coalesce", n.Name)
	case facts.Declared:
		return fmt.Sprintf("select rows with %s IS NOT NULL, or use coalesce", n.Name)
	case facts.Total:
		return "group by all columns of the key, or use coalesce with a value that marks the total"
	case facts.NoColumn:
		return "add the column to both sides"
	case facts.NoRow, facts.NoRows, facts.NoneLeft, facts.NoCell, facts.Frame, facts.OneRow:
		return fill
	}
	return "use coalesce"
}
