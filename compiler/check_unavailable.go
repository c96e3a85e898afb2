package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// An unknownColumn is a column that a deployment declares as not known when it predicts.
type unknownColumn struct {
	out    *out
	column string
	path   []string // of the list that has it
}

// checkUnavailable refuses deployments of models with an input that depends on a column which
// is not known when a prediction is made.
func (c *checker) checkUnavailable(f *factory) error {
	reported := map[string]bool{}
	for _, id := range c.order {
		e := c.entities[id]
		u := e.component.Unavailable
		if u == nil {
			continue
		}
		columns := c.unknownColumns(e, u.Field)
		port := e.input(u.Model)
		if len(columns) == 0 || c.broken[id] || port == nil || port.out == nil || port.out.signature == nil || c.broken[port.from] {
			continue
		}
		model := port.out.entity
		table := model.input("table")
		if table == nil || table.out == nil || c.broken[table.from] {
			continue
		}
		for _, column := range columns {
			d, blamed, err := c.dependent(f, e, model, table.out, port.out.signature, u.Model, column)
			if err != nil {
				return err
			}
			cause := fmt.Sprint(model.id(), column.out.entity.id(), column.column, blamed)
			if d != nil && !reported[cause] {
				c.fail(e, *d)
				reported[cause] = true
			}
		}
	}
	return nil
}

// unknownColumns returns the columns that a field of an entity lists. It reports names that
// do not exist.
func (c *checker) unknownColumns(e *entity, name string) (all []unknownColumn) {
	sections, _ := e.fields.at(name).(object)
	for _, section := range sections {
		entities, _ := section.value.(object)
		for _, f := range entities {
			path := append(strings.Split(name, "."), section.name, f.name)
			of := c.entities[section.name+"/"+f.name]
			if of == nil {
				if !c.broken[section.name+"/"+f.name] {
					c.fail(e, diag.Diagnostic{
						Message: fmt.Sprintf("%s of %s refers to %s.%s, which does not exist", name, e, section.name, f.name),
						Spans:   []diag.Span{c.sys.Label("", e.path(path...)...)},
						Hint:    diag.DidYouMean(f.name, c.sys.EntityNames(section.name)),
					})
				}
				continue
			}
			for _, column := range stringsOf(f.value) {
				var tables []*out
				found := false
				for _, port := range of.outNames {
					if o := of.outs[port]; o.kind == ir.Table {
						tables = append(tables, o)
						if o.schema.Column(column) != nil {
							all, found = append(all, unknownColumn{o, column, path}), true
						}
					}
				}
				switch {
				case found:
				case len(tables) > 0:
					c.noColumn(e, name, column, tables[0], tables[0].schema, path...)
				case !c.broken[of.id()]:
					c.fail(e, diag.Diagnostic{
						Message: fmt.Sprintf("%s of %s refers to %s, which gives no table", name, e, of),
						Spans:   []diag.Span{c.sys.Label("", e.path(path...)...)},
					})
				}
			}
		}
	}
	return all
}

// dependent finds inputs of a model that depend on a column which is not known when the
// model predicts, and returns their names with the fault.
func (c *checker) dependent(f *factory, e, model *entity, table *out, signature *ir.Signature, port string, column unknownColumn) (*diag.Diagnostic, []string, error) {
	f = f.following()
	if column.out.entity.typing != nil || column.out.entity.rows != nil {
		// What the column is made of does not matter, as if no query made it.
		f = f.from(column.out)
	}
	t, err := f.table(table)
	if err != nil {
		return nil, nil, err
	}
	root := facts.Root{Table: column.out.entity.id() + "." + column.out.port, Column: column.column}
	predicted := predictedRows(f, t, t.Column(model.string("label")), root.Table)
	known := stringsOf(model.fields.get("known"))
	var blamed []string
	var spans []diag.Span
	var path []string
	for _, in := range signature.Input {
		col := t.Column(in.Name)
		if col == nil {
			continue
		}
		i := slices.IndexFunc(col.Origins, func(o facts.Origin) bool {
			switch {
			case o.Root != root:
				return false
			case o.OfRow() && (predicted[o.Row] || len(predicted) == 0 && !o.Apart),
				slices.ContainsFunc(o.Includes, func(row string) bool { return predicted[row] }):
				return true
			}
			return len(predicted) == 0 && ofKey(o, t)
		})
		switch {
		case i < 0:
		case slices.Contains(known, in.Name):
			if !slices.Contains(c.known[model.id()], in.Name) {
				c.known[model.id()] = append(c.known[model.id()], in.Name)
			}
		default:
			text := fmt.Sprintf("%s depends on %s", in.Name, column.column)
			if in.Name == column.column {
				text = fmt.Sprintf("%s is an input of the model", in.Name)
			}
			if o := col.Origins[i]; !o.OfRow() {
				var by []string
				for _, class := range o.By {
					by = append(by, class[0].Column)
				}
				text = fmt.Sprintf("%s aggregates %s over all rows with the same %s, those of the predicted row too", in.Name, column.column, listed(by))
				spans = append(spans, f.construct(c, table, in.Name, o.Site, text))
			} else {
				spans = append(spans, f.defined(c, table, in.Name, text))
			}
			blamed = append(blamed, in.Name)
			if path == nil {
				path = append(slices.Clone(col.Origins[i].Path), model.String(), e.String())
			}
		}
	}
	if len(blamed) == 0 {
		return nil, nil, nil
	}
	spans = append(spans, c.sys.At(column.column+" is not known when a prediction is made", e.path(column.path...)...),
		c.sys.At("the model", e.path("in", port)...))
	quoted := `"` + strings.Join(blamed, `", "`) + `"`
	return &diag.Diagnostic{
		Message: fmt.Sprintf("%s needs %s, which is not known when %s predicts", model, column.column, e),
		Path:    strings.Join(path, " -> "),
		Spans:   spans,
		Hint:    fmt.Sprintf("in %s, set exclude: [%s], or known: [%[2]s] if that is known when a prediction is made; values of earlier rows are accepted: a window that ends before the row, or a join on an earlier time", model, quoted),
	}, blamed, nil
}

// ofKey reports whether an aggregate is made of all rows that belong to a row of a table: it
// is grouped by what the row has as its key, and perhaps by other columns of that.
func ofKey(o facts.Origin, t facts.Table) bool {
	if len(o.By) == 0 {
		return false
	}
	return slices.ContainsFunc(t.Keys, func(key []string) bool {
		rows := map[string]bool{}
		for _, name := range key {
			c := t.Column(name)
			if c == nil || c.Partial || len(c.Origins) != 1 || c.Origins[0].Use != facts.Copied || c.Origins[0].Row == "" {
				return false
			}
			of := c.Origins[0]
			if !slices.ContainsFunc(o.By, func(class facts.Class) bool { return slices.Contains(class, facts.Cell{Root: of.Root, Row: of.Row}) }) {
				return false
			}
			rows[of.Row] = true
		}
		return len(key) > 0 && !slices.ContainsFunc(o.By, func(class facts.Class) bool {
			return !slices.ContainsFunc(class, func(x facts.Cell) bool { return rows[x.Row] })
		})
	})
}

// predictedRows returns the rows of a root table that a row of a table stands for: those
// that the label is made of, and those of which the table has a key. There are none if the
// rows of the table only refer to others.
func predictedRows(f *factory, t facts.Table, label *facts.Column, table string) map[string]bool {
	rows := map[string]bool{}
	if label != nil {
		for at := range cells(label, facts.Computed) {
			if at.Table == table {
				rows[at.row] = true
			}
		}
	}
	copied := map[string]map[string]bool{} // columns by row
	for _, c := range t.Columns {
		if len(c.Origins) != 1 || c.Partial || c.Origins[0].Use != facts.Copied || c.Origins[0].Table != table {
			continue
		}
		o := c.Origins[0]
		if copied[o.Row] == nil {
			copied[o.Row] = map[string]bool{}
		}
		copied[o.Row][o.Column] = true
	}
	for row, columns := range copied {
		for _, key := range f.keys[table] {
			if len(key) > 0 && !slices.ContainsFunc(key, func(k string) bool { return !columns[k] }) && row != "" {
				rows[row] = true
			}
		}
	}
	return rows
}

// from returns a factory for which no query makes a table.
func (f *factory) from(o *out) *factory {
	as := newFactory(f.program)
	as.given, as.follows = o, f.follows
	return as
}
