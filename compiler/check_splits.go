package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// fitted finds inputs that are statistics over the rows of the test part: of all rows, or of
// a group whose rows are in both parts. A model that has seen them is judged by rows that
// are not new to it.
func (l *leaks) fitted() *diag.Diagnostic {
	split, _ := l.model.fields.at("test").(object)
	component, err := l.component(stringOf(split.get("component")))
	if err != nil || component.Divides == nil {
		return nil
	}
	divides := component.Divides
	judged := l.judged()
	var blamed []*facts.Column
	var at facts.Origin
	for _, in := range l.inputs {
		i := slices.IndexFunc(in.Origins, func(o facts.Origin) bool {
			return o.Fitted && judged[o.Table] && !l.together(o, divides, stringOf(split.get(divides.Column)))
		})
		switch {
		case i < 0:
		case len(blamed) == 0:
			blamed, at = append(blamed, in), in.Origins[i]
		case in.Origins[i].Group == at.Group:
			blamed = append(blamed, in)
		}
	}
	if len(blamed) == 0 {
		return nil
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s learns from statistics of its test rows", l.model),
		Path:    strings.Join(append(slices.Clone(at.Path), l.model.String()), " -> "),
	}
	over, fix := "all rows, those of the test part too", "aggregate earlier rows only, by a window that ends before the row or by rows before a fixed date"
	if groups := at.Groups(); len(groups) > 0 {
		var names []string
		for _, g := range groups {
			names = append(names, g.Column)
		}
		d.Message = fmt.Sprintf("%s is tested on rows that share values with those it learns from", l.model)
		over = fmt.Sprintf("all rows with the same %s, also across the two parts", listed(names))
		if column := l.columnOf(groups); column == "" {
			fix = fmt.Sprintf("give the table the column %q, and keep these rows together by split.#ByGroup; %s", names[0], fix)
		} else {
			fix = fmt.Sprintf("keep these rows together, by `test: split.#ByGroup & {column: %q}`; %s", column, fix)
		}
	}
	for _, in := range blamed {
		var site facts.Site // the first in the query
		for _, o := range in.Origins {
			if o.Fitted && o.Group == at.Group && (site.At == 0 || o.Site.At < site.At) {
				site = o.Site
			}
		}
		d.Spans = append(d.Spans, l.factory.construct(l.checker, l.table, in.Name, site, fmt.Sprintf("%s is made of %s", in.Name, over)))
	}
	d.Spans = append(d.Spans, l.sys.At("this divides the rows", l.model.path("test")...))
	d.Hint = fmt.Sprintf("%s; set %s; or set %s if that is known when a prediction is made", fix, listField("exclude", blamed), listField("known", blamed))
	return &d
}

// judged returns the root tables whose rows are those of the model's table: those that have
// the label, and those of which it has a key.
func (l *leaks) judged() map[string]bool {
	tables := map[string]bool{}
	for at := range cells(l.label, facts.Computed) {
		tables[at.Table] = true
	}
	copied := map[cell]bool{}
	for _, c := range l.facts.Columns {
		if len(c.Origins) == 1 && !c.Partial && c.Origins[0].Use == facts.Copied && c.Origins[0].Row != "" {
			copied[cellOf(c.Origins[0])] = true
		}
	}
	for at := range copied {
		for _, key := range l.factory.keys[at.Table] {
			whole := len(key) > 0
			for _, k := range key {
				whole = whole && copied[cell{facts.Root{Table: at.Table, Column: k}, at.row, ""}]
			}
			tables[at.Table] = tables[at.Table] || whole
		}
	}
	return tables
}

// together reports whether the rows behind a statistic are in one part only, or may be: a
// group may be a key, a period of time, or a part of the groups of the split.
func (l *leaks) together(o facts.Origin, d *divides, column string) bool {
	groups := o.Groups()
	if len(groups) == 0 {
		return false
	}
	var names []string
	for _, g := range groups {
		names = append(names, g.Column)
		if col := l.rootColumn(g); col == nil || isTime(col.Type) {
			return true
		}
	}
	for _, key := range l.factory.keys[o.Table] {
		if len(key) > 0 && !slices.ContainsFunc(key, func(k string) bool { return !slices.Contains(names, k) }) {
			return true
		}
	}
	return d.By == "groups" && column != ""
}

// rootColumn returns the declaration of a column of a root table, or nil.
func (l *leaks) rootColumn(r facts.Root) *ir.Column {
	id, port := cutPath(r.Table)
	if e := l.entities[id]; e != nil && e.outs[port] != nil {
		return e.outs[port].schema.Column(r.Column)
	}
	return nil
}

// columnOf returns the column of the model's table that is one of the roots, or "".
func (l *leaks) columnOf(roots []facts.Root) string {
	for _, c := range l.facts.Columns {
		if len(c.Origins) == 1 && !c.Partial && c.Origins[0].Use == facts.Copied && slices.Contains(roots, c.Origins[0].Root) {
			return c.Name
		}
	}
	return ""
}

// predicted finds an input that another model predicts for the rows that it was trained on
// with the same label: it has seen the answers.
func (l *leaks) predicted() *diag.Diagnostic {
	if l.facts.Filtered {
		return nil // perhaps to rows that the other model has not seen
	}
	label := cells(l.label, facts.Computed)
	for _, in := range l.inputs {
		for _, o := range in.Origins {
			id, _ := cutPath(o.Table)
			batch := l.entities[id]
			if batch == nil || batch.component.Predicts == nil || !slices.Contains(batch.component.Predicts.Adds, o.Column) {
				continue
			}
			model, table := batch.input(batch.component.Predicts.Model), batch.input(batch.component.Predicts.Table)
			if model == nil || model.out == nil || table == nil || table.out == nil {
				continue
			}
			first := model.out.entity
			trained := first.input("table")
			if trained == nil || trained.out != table.out {
				continue
			}
			learned := l.factory.tables[trained.out]
			target := learned.Column(first.string("label"))
			if target == nil || len(label) == 0 || !sameRoots(label, cells(target, facts.Computed)) {
				continue
			}
			return &diag.Diagnostic{
				Message: fmt.Sprintf("%s learns from what %s predicts for its own training rows", l.model, first),
				Path:    strings.Join(append(slices.Clone(o.Path), l.model.String()), " -> "),
				Spans: []diag.Span{
					l.factory.defined(l.checker, l.table, in.Name, fmt.Sprintf("%s is predicted by %s", in.Name, first)),
					l.sys.At(fmt.Sprintf("%s predicts for these rows", first), batch.path("in", batch.component.Predicts.Table)...),
					l.sys.At("it was trained on them, with the same label", first.path("in", "table")...),
				},
				Hint: fmt.Sprintf("let %s predict for rows that it has not seen, such as those after its training, and train %s on these; set exclude: [%q]; or set known: [%[3]q]", first, l.model, in.Name),
			}
		}
	}
	return nil
}

// sameRoots reports whether two labels are made of the same columns.
func sameRoots(a, b map[cell]facts.Origin) bool {
	roots := func(m map[cell]facts.Origin) map[facts.Root]bool {
		all := map[facts.Root]bool{}
		for at := range m {
			all[at.Root] = true
		}
		return all
	}
	x, y := roots(a), roots(b)
	for r := range x {
		if !y[r] {
			return false
		}
	}
	return len(x) == len(y)
}
