package compiler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/internal/diag"
)

// declaredKeys returns the sets of columns that identify a row of a table.
func declaredKeys(o *out) [][]string {
	var all [][]string
	if len(o.keys) > 0 {
		all = append(all, o.keys)
	}
	for _, col := range o.schema {
		if col.Unique && !(len(o.keys) == 1 && o.keys[0] == col.Name) {
			all = append(all, []string{col.Name})
		}
	}
	return all
}

// checkKeys refuses a key whose columns repeat for some rows that the declarations of the
// inputs allow. A key that may hold is checked in the rows, and so is one of which all
// columns are trusted.
func (c *checker) checkKeys(e *entity, o *out, t facts.Table) {
	trust := stringsOf(e.fields.get("trust"))
	var reported []facts.Repeat
	for _, key := range declaredKeys(o) {
		r := t.Repeats(key)
		if r == nil || slices.ContainsFunc(reported, func(x facts.Repeat) bool { return x.Kind == r.Kind && x.Offset == r.Offset }) {
			continue
		}
		if !slices.ContainsFunc(key, func(k string) bool { return !slices.Contains(trust, k) }) {
			for _, k := range key {
				c.trust(e, k)
			}
			continue
		}
		reported = append(reported, *r)
		c.fail(e, c.repeated(e, o, key, r))
	}
}

// repeated describes why a key is not unique.
func (c *checker) repeated(e *entity, o *out, key []string, r *facts.Repeat) diag.Diagnostic {
	subject, per := fmt.Sprintf("%q is", key[0]), strings.Join(key, ", ")
	if len(key) > 1 {
		subject = quoted(key) + " together are"
	}
	var reason, label string
	var remedies []string
	spans := []diag.Span{c.sqlSpan(e, e.string(e.component.SQL), r.Offset), c.keySpan(e, o, key)}
	switch r.Kind {
	case facts.RepeatedByTable:
		table, by, before := cmp.Or(r.Table, "a table"), per, ""
		reason = table + " has many rows"
		if len(r.Per) > 0 {
			by = strings.Join(r.Per, ", ")
			reason += " per " + by
		}
		label = reason
		if len(r.Keys) > 0 {
			var all []string
			for _, k := range r.Keys {
				all = append(all, strings.Join(k, ", "))
			}
			label += ": its key is " + strings.Join(all, " or ")
		}
		if r.Joined {
			reason, before = "a join can duplicate its rows", " before the join"
		}
		remedies = append(remedies, fmt.Sprintf("aggregate %s by %s%s", table, by, before),
			fmt.Sprintf("keep one row of each with QUALIFY row_number() OVER (PARTITION BY %s ORDER BY ...) = 1", by))
		if in := e.input(r.Input); in != nil && in.out != nil && c.sys.Written(in.out.entity.path("keys")...) {
			spans = append(spans, c.sys.Label("the key of "+in.out.entity.String(), in.out.entity.path("keys")...))
		}
	case facts.RepeatedByGroup:
		reason = "GROUP BY makes a row for each " + strings.Join(slices.Concat(r.Per, r.Columns), ", ")
		label = fmt.Sprintf("%s may differ for the same %s", strings.Join(r.Columns, ", "), per)
		remedies = append(remedies, fmt.Sprintf("group by %s only, and aggregate the others, for example with max", per))
	case facts.RepeatedByDistinct:
		reason = "DISTINCT keeps rows that differ in " + strings.Join(r.Columns, ", ")
		label = fmt.Sprintf("%s may differ for the same %s", strings.Join(r.Columns, ", "), per)
		remedies = append(remedies, "group by "+per, fmt.Sprintf("keep one row of each with DISTINCT ON (%s) and ORDER BY", per))
	case facts.RepeatedByUnion:
		reason = "the parts of a UNION can have the same " + per
		label = fmt.Sprintf("a row here may have the same %s as one above", per)
		remedies = append(remedies, "give each part a constant column of its own, such as 'web' AS source, and add that to keys")
	case facts.RepeatedByUnnest:
		reason = "UNNEST makes several rows of one"
		label = "makes a row for each element of the list"
		remedies = append(remedies, "aggregate by "+per)
	case facts.RepeatedByPivot:
		reason = "PIVOT makes a row for each " + strings.Join(slices.Concat(r.Per, r.Columns), ", ")
		label = fmt.Sprintf("%s may differ for the same %s", strings.Join(r.Columns, ", "), per)
		remedies = append(remedies, fmt.Sprintf("write GROUP BY %s in PIVOT, or select only the columns that it needs", per))
	case facts.RepeatedByUnpivot:
		reason = "UNPIVOT makes several rows of one"
		label = "makes a row for each column that it lists"
		remedies = append(remedies, "aggregate by "+per)
	}
	if r.Offset >= 0 {
		spans[0].Label = label
	}
	if len(r.Add) > 0 {
		remedies = append(remedies, "add "+quoted(r.Add)+" to keys")
	}
	remedies = append(remedies, c.declareKey(e, r)...)
	remedies = append(remedies, "set "+listOf("trust", key)+" if it is unique all the same")
	return diag.Diagnostic{
		Message: fmt.Sprintf("%s not unique in %s: %s", subject, e, reason),
		Spans:   spans,
		Hint:    strings.Join(remedies, "; or "),
	}
}

// declareKey suggests to declare the key that a table may have.
func (c *checker) declareKey(e *entity, r *facts.Repeat) []string {
	in := e.input(r.Input)
	if in == nil || in.out == nil || len(r.Per) != 1 || slices.ContainsFunc(r.Keys, func(k []string) bool { return slices.Contains(k, r.Per[0]) }) {
		return nil
	}
	return []string{fmt.Sprintf("set unique: true for %s of %s if it is unique there", r.Per[0], in.out.entity)}
}

// keySpan returns where a key is declared.
func (c *checker) keySpan(e *entity, o *out, key []string) diag.Span {
	if slices.Equal(key, o.keys) {
		return c.sys.At("", e.path("keys")...)
	}
	s := c.columnSpan(e, key[0])
	s.Label = "declared unique here"
	return s
}

func quoted(names []string) string {
	var all []string
	for _, n := range names {
		all = append(all, fmt.Sprintf("%q", n))
	}
	return listed(all)
}

// listOf returns a field with a list of texts, as a user writes it.
func listOf(field string, names []string) string {
	var all []string
	for _, n := range names {
		all = append(all, fmt.Sprintf("%q", n))
	}
	return field + ": [" + strings.Join(all, ", ") + "]"
}
