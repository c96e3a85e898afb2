package compiler

import (
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// referencePaths returns the paths of the references that an entity declares: of its
// table, or of each table of a step.
func (e *entity) referencePaths() [][]string {
	var paths [][]string
	add := func(o object, at ...string) {
		refs, _ := o.get("references").(object)
		for _, f := range refs {
			paths = append(paths, append(slices.Clone(at), "references", f.name))
		}
	}
	add(e.fields)
	if e.section == "steps" {
		outputs, _ := e.fields.get("outputs").(object)
		for _, f := range outputs {
			o, _ := f.value.(object)
			add(o, "outputs", f.name)
		}
	}
	return paths
}

// bindReference finds the two tables of a reference.
func (c *decoder) bindReference(e *entity, path []string) {
	r := reference{path: path}
	if name := path[len(path)-1]; !goodName(name) {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%q is not a valid name of a reference", name),
			Spans:   []diag.Span{c.sys.Label("", e.path(path...)...)},
			Wanted:  `letters, digits, "-", "_" and "."`,
		})
		return
	}
	for _, o := range e.outs {
		if o.kind == ir.Table && (path[0] == "references" || o.port == path[1]) {
			r.of = o
		}
	}
	if r.of == nil {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s has references but is no table", strings.Join(path[:len(path)-2], "."), e),
			Spans:   []diag.Span{c.sys.Label("", e.path(path...)...)},
			Hint:    "only tables have references",
		})
		return
	}
	table := e.value.LookupPath(cue.MakePath(selectors(append(slices.Clone(path), "table"))...))
	var ok bool
	if r.port, ok = c.bindPort(e, strings.Join(path, "."), table, e.path(append(slices.Clone(path), "table")...)); !ok {
		return
	}
	columns, _ := under(e.fields, append(slices.Clone(path), "columns")).(object)
	columns = slices.Clone(columns)
	index := func(f field) int { return slices.Index(columnNames(r.of.schema), f.name) }
	slices.SortStableFunc(columns, func(a, b field) int { return index(a) - index(b) })
	for _, f := range columns {
		r.columns, r.keys = append(r.columns, f.name), append(r.keys, stringOf(f.value))
	}
	e.references = append(e.references, r)
}

// under returns the value at a path whose names may contain dots, or nil.
func under(o object, path []string) any {
	for _, name := range path[:len(path)-1] {
		o, _ = o.get(name).(object)
	}
	return o.get(path[len(path)-1])
}

func selectors(path []string) []cue.Selector {
	out := make([]cue.Selector, len(path))
	for i, name := range path {
		out[i] = cue.Str(name)
	}
	return out
}

// field returns the path of a part of the reference in its entity.
func (r reference) field(part ...string) []string { return slices.Concat(r.path, part) }

func (r reference) String() string { return strings.Join(r.path, ".") }

// checkReferences checks the columns of the references of an entity: both tables have
// them, with the same types, and those referred to identify a row.
func (c *checker) checkReferences(e *entity) {
	for _, r := range e.references {
		k := e.component
		if r.out.entity == e && k.unit(e.id(), r.out.port) != k.unit(e.id(), r.of.port) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s of %s refers to a table that another unit of %[2]s writes", r, e),
				Spans:   []diag.Span{c.sys.At("", e.path(r.field("table")...)...)},
				Hint:    "refer to a table of another entity, or of the same unit",
			})
			continue
		}
		if len(r.columns) == 0 {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s of %s names no columns", r, e),
				Spans:   []diag.Span{c.sys.Label("", e.path(r.path...)...)},
				Hint:    `name columns of both tables: columns: {shop: "id"}`,
			})
			continue
		}
		if r.out.kind == ir.Table && c.checkReferenceColumns(e, r) {
			c.checkReferredKey(e, r)
		}
	}
}

func (c *checker) checkReferenceColumns(e *entity, r reference) bool {
	sound := true
	for i, name := range r.columns {
		own, other := r.of.schema.Column(name), r.out.schema.Column(r.keys[i])
		at := c.sys.Label("", e.path(r.field("columns", name)...)...)
		switch {
		case own == nil:
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s of %s refers to a column %q that its own table does not have", r, e, name),
				Wanted:  "one of " + strings.Join(columnNames(r.of.schema), ", "),
				Spans:   []diag.Span{at},
				Hint:    nearest(name, columnNames(r.of.schema)),
			})
		case other == nil:
			c.noColumn(e, r.String(), r.keys[i], r.out, r.out.schema, r.field("columns", name)...)
		case own.Type != other.Type:
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s of %s compares columns of two types: %s is %s, %s of %s is %s", r, e, name, own.Type, other.Name, r.out.entity, other.Type),
				Wanted:  "the same type in both tables",
				Spans:   []diag.Span{at, c.tableColumn(r.of, name), c.tableColumn(r.out, other.Name)},
				Hint:    "declare both columns with one type",
			})
		default:
			continue
		}
		sound = false
	}
	return sound
}

// checkReferredKey requires that the columns referred to are the keys of their table, or a
// unique column.
func (c *checker) checkReferredKey(e *entity, r reference) {
	want, got := slices.Sorted(slices.Values(r.out.keys)), slices.Sorted(slices.Values(r.keys))
	if slices.Equal(want, got) || len(got) == 1 && r.out.schema.Column(got[0]).Unique {
		return
	}
	table := r.out.entity
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s of %s refers to %s of %s, which does not identify a row there", r, e, strings.Join(r.keys, ", "), table),
		Wanted:  "the keys of the table, or one unique column",
		Found:   "no keys",
		Spans:   []diag.Span{c.sys.At("", e.path(r.field("columns")...)...), c.sys.Label("the table", c.tableField(r.out)...)},
		Hint:    fmt.Sprintf("declare keys: [%s] in %s", quotedList(r.keys), table),
	}
	if len(want) > 0 {
		d.Found = "keys " + strings.Join(r.out.keys, ", ")
		if c.sys.Written(c.tableField(r.out, "keys")...) {
			d.Spans[1] = c.sys.At("its keys", c.tableField(r.out, "keys")...)
		}
		d.Hint = "refer to all keys of the table, or to a column that declares unique: true"
	}
	c.fail(e, d)
}

// tableField returns the path of a field that says something about an output table, such
// as its schema.
func (c *checker) tableField(o *out, field ...string) []string {
	if o.entity.section == "steps" {
		return o.entity.path(append([]string{"outputs", o.port}, field...)...)
	}
	return o.entity.path(field...)
}

func (c *checker) tableColumn(o *out, column string) diag.Span {
	if o.entity.section == "steps" {
		return c.sys.Label("declared here", c.tableField(o, "schema", column)...)
	}
	return c.columnSpan(o.entity, column)
}

func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(quoted, ", ")
}

// lowerReferences adds the references of an entity to the outputs of a unit, and the
// tables that other units make to its inputs.
func (c *lowerer) lowerReferences(e *entity, u *ir.Unit) {
	for _, r := range e.references {
		i := slices.IndexFunc(u.Outputs, func(o ir.Output) bool { return o.Port == r.of.port })
		if i < 0 || e.component.unit(e.id(), r.of.port) != u.ID {
			continue
		}
		ref := ir.Reference{Columns: r.columns, Keys: r.keys}
		from := r.out.entity.component.unit(r.from, r.out.port)
		if from == u.ID {
			ref.Output = r.out.port
		} else {
			ref.Input = r.name
			u.Inputs = append(u.Inputs, ir.Input{Port: r.name, Unit: from, From: r.out.port, Kind: ir.Table, Checked: true})
		}
		u.Outputs[i].References = append(u.Outputs[i].References, ref)
	}
}
