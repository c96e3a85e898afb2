package facts

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// shape is what is known about the parts of a value. A struct whose fields and a list whose
// elements are not known is made of all its origins.
type shape struct {
	fields []Column // of a struct, by their names
	elem   *Column  // any element of a list
}

// The rows of elements. A list that an aggregate makes has elements from several rows: the
// origins of its elements have a row that begins with a tag, which stands for the order of
// the list. Taking the list apart makes one row of it.

const tagged = "["

// clone returns a copy that can be changed.
func (n shape) clone() shape {
	n.fields = slices.Clone(n.fields)
	for i := range n.fields {
		n.fields[i].shape = n.fields[i].shape.clone()
	}
	if n.elem != nil {
		e := *n.elem
		e.shape = e.shape.clone()
		n.elem = &e
	}
	return n
}

// walk calls a function for a column and all its parts.
func (c *Column) walk(f func(*Column)) {
	f(c)
	for i := range c.fields {
		c.fields[i].walk(f)
	}
	if c.elem != nil {
		c.elem.walk(f)
	}
}

// changed returns a copy of which a function has changed all parts.
func (n shape) changed(f func(*Column)) shape {
	n = n.clone()
	for i := range n.fields {
		n.fields[i].walk(f)
	}
	if n.elem != nil {
		n.elem.walk(f)
	}
	return n
}

// field returns a field by its name, or nil.
func (n shape) field(name string) *Column {
	for i := range n.fields {
		if strings.EqualFold(n.fields[i].Name, name) {
			return &n.fields[i]
		}
	}
	return nil
}

// either returns what is known of a value that is one of two.
func either(x, y shape) shape {
	var n shape
	if len(x.fields) == len(y.fields) {
		for _, f := range x.fields {
			g := y.field(f.Name)
			if g == nil {
				n.fields = nil
				break
			}
			n.fields = append(n.fields, eitherOf(f, *g))
		}
	}
	if x.elem != nil && y.elem != nil {
		e := eitherOf(*x.elem, *y.elem)
		n.elem = &e
	}
	return n
}

// eitherOf returns a column that has the value of one of two.
func eitherOf(x, y Column) Column {
	c := Column{Name: x.Name, Offset: x.Offset, Partial: x.Partial || y.Partial, Origins: merge(x.Origins, y.Origins), bound: true, shape: either(x.shape, y.shape)}
	if x.fact() == never && y.fact() == never {
		c.Null = never
	}
	return c
}

// shapeOf returns what is known of the parts of an expression's value.
func (a *analysis) shapeOf(e *expr, s *scope) shape {
	if a.depth++; a.depth > 8 { // each level looks several times at those below
		a.depth--
		return shape{}
	}
	defer func() { a.depth-- }()
	args := e.args[:min(e.nargs, len(e.args))]
	switch {
	case e.kind == column:
		c, _ := a.resolve(e.names, s)
		return c.shape
	case e.typ == "STRUCT_EXTRACT", e.typ == "ARRAY_EXTRACT", e.kind == call && extracts[e.name]:
		if f := a.extracted(e, s); f != nil {
			return f.shape
		}
		if elem := a.elem(args, s); elem != nil {
			return picked(*elem).shape.decidedBy(a.deciding(args[1:], s))
		}
	case e.kind == call && (e.name == "struct_pack" || e.name == "row"):
		return shape{fields: a.items(e, args, s)}
	case e.kind == call && e.name == "struct_insert" && len(args) > 0:
		n := a.shapeOf(args[0], s)
		if n.fields != nil {
			n.fields = slices.Concat(n.fields, a.items(e, args[1:], s))
		}
		return n
	case e.kind == call && e.name == "unnest":
		if elem := a.unnested(e, s); elem != nil {
			return elem.shape
		}
	case e.kind == call && (e.name == "list_value" || e.name == "array_value") && len(args) > 0:
		elem := a.item(args[0], s)
		for _, x := range args[1:] {
			elem = eitherOf(elem, a.item(x, s))
		}
		elem = elem.detached()
		elem.Origins = through(elem.Origins, Computed)
		return shape{elem: &elem}
	case e.kind == call && (e.name == "list" || e.name == "array_agg") && len(args) == 1:
		return a.collected(e, args[0], s)
	case e.kind == call && kept[e.name] && len(args) > 0:
		n := a.shapeOf(args[0], s).retagged(e)
		if n.elem != nil {
			n = n.decidedBy(a.deciding(args[1:], s.binding(args[1:], *n.elem)))
		}
		return n
	case e.kind == call && (e.name == "list_transform" || e.name == "list_apply" || e.name == "array_transform") && len(args) == 2:
		elem := a.elem(args, s)
		if body := args[1]; elem != nil && len(body.bound) == 1 && len(body.args) == 1 {
			made := a.item(body.args[0], s.binding([]*expr{body}, *elem))
			made.Null, made.joins, made.Constants, made.Of = Null{}, nil, nil, Ref{}
			return shape{elem: &made}
		}
	case e.kind == call && selective[e.name] && len(args) > 0:
		n := a.shapeOf(args[0], s)
		if n.fields == nil {
			return n
		}
		n = shape{fields: n.fields}.changed(func(c *Column) {
			c.Origins, c.Null = a.aggregated(e, slices.Clone(c.Origins), s), Null{}
		})
		return n.decidedBy(a.deciding([]*expr{e}, s))
	}
	return shape{}
}

var (
	// extracts are functions that take a field of a struct or an element of a list.
	extracts = words("struct_extract array_extract list_extract list_element element_at")
	// kept are functions whose list has elements of their first one, in another order.
	kept = words(`list_filter array_filter filter list_sort array_sort list_reverse_sort array_reverse_sort list_reverse array_reverse
		list_slice array_slice list_distinct array_distinct list_select array_select list_resize array_resize`)
	// selective are aggregates whose value is that of one row.
	selective = words("max min first last any_value arbitrary arg_max arg_min max_by min_by")
)

func words(text string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(text) {
		all[w] = true
	}
	return all
}

// binding returns a scope in which the parameter of a lambda among the expressions, if it has
// one, is the element of a list.
func (s *scope) binding(exprs []*expr, elem Column) *scope {
	inner := *s
	inner.bound = slices.Clone(s.bound)
	for _, e := range exprs {
		if len(e.bound) == 1 {
			p := elem
			p.Name = e.bound[0]
			inner.bound = append(inner.bound, p)
		}
	}
	return &inner
}

// deciding returns the origins of expressions on which a value depends, although it is not
// made of them.
func (a *analysis) deciding(exprs []*expr, s *scope) Column {
	var c Column
	for _, e := range exprs {
		if len(e.bound) > 0 {
			e = e.args[0] // its parameter is bound
		}
		origins, partial := a.expr(e, s)
		c.Origins, c.Partial = merge(c.Origins, origins), c.Partial || partial
	}
	c.Origins = decisions(c.Origins)
	return c
}

// decidedBy adds what decides to all parts.
func (n shape) decidedBy(by Column) shape {
	return n.changed(func(c *Column) {
		c.Origins, c.Partial = merge(c.Origins, by.Origins), c.Partial || by.Partial
	})
}

// items returns the fields that the arguments of struct_pack make.
func (a *analysis) items(e *expr, args []*expr, s *scope) []Column {
	var all []Column
	for _, x := range args {
		c := a.item(x, s)
		c.attr, c.made, c.tag = 0, nil, nil
		if e.name == "row" {
			c.Name = ""
		}
		all = append(all, c)
	}
	return all
}

// elem returns what is known of the elements of the first argument, or nil.
func (a *analysis) elem(args []*expr, s *scope) *Column {
	if len(args) == 0 {
		return nil
	}
	return a.shapeOf(args[0], s).elem
}

// extracted returns the field that s['a'] and the like take, or nil.
func (a *analysis) extracted(e *expr, s *scope) *Column {
	args := e.args[:min(e.nargs, len(e.args))]
	if e.typ != "STRUCT_EXTRACT" && e.typ != "ARRAY_EXTRACT" && !(e.kind == call && extracts[e.name]) || len(args) != 2 || args[1].value == nil || args[1].value.Number {
		return nil
	}
	return a.shapeOf(args[0], s).field(args[1].value.Text)
}

// collected returns the elements of a list that an aggregate makes.
func (a *analysis) collected(e, arg *expr, s *scope) shape {
	rows := *s
	rows.after, rows.group = nil, nil
	elem := a.item(arg, &rows).detached()
	tag := fmt.Sprintf("%s%d:%s]", tagged, s.id, e.hash("children"))
	elem.walk(func(c *Column) { c.tagRows(tag, false) })
	return shape{elem: &elem}.decidedBy(a.deciding(e.decides, &rows))
}

// detached returns a column as an element of a list, of which it is only known where it comes
// from and whether it is never null.
func (c Column) detached() Column {
	n := shape{elem: &c}.changed(func(c *Column) {
		if c.fact() == never {
			c.Null = never
		} else {
			c.Null = Null{}
		}
		c.Constants, c.joins, c.ties, c.bound, c.Of, c.Domain, c.tag, c.direct = nil, nil, nil, true, Ref{}, Domain{}, nil, false
		c.Range, c.Narrowed, c.Parts, c.Unit, c.letters = Range{}, nil, nil, Unit{}, ""
	})
	n.elem.Name = ""
	return *n.elem
}

// retagged returns the elements of a list that a function has put in another order.
func (n shape) retagged(e *expr) shape {
	tag := tagged + e.hash() + "]"
	return shape{elem: n.elem}.changed(func(c *Column) { c.tagRows(tag, true) })
}

// tagRows puts a tag before the rows of origins, or only before those that have one.
func (c *Column) tagRows(tag string, only bool) {
	c.Origins = slices.Clone(c.Origins)
	for i := range c.Origins {
		if o := &c.Origins[i]; o.Row != "" && (!only || strings.Contains(o.Row, tagged)) {
			o.Row = tag + o.Row
		}
	}
}

// unnested returns an element as UNNEST in the select list gives it, or nil. All that a SELECT
// takes apart goes in step.
func (a *analysis) unnested(e *expr, s *scope) *Column {
	elem := a.elem(e.args[:min(e.nargs, len(e.args))], s)
	if elem == nil {
		return nil
	}
	return elem.element(fmt.Sprintf("u%d/", s.id))
}

// element returns an element of a list as a value of its own row.
func (c Column) element(mark string) *Column {
	n := shape{elem: &c}.changed(func(c *Column) {
		c.Origins = through(c.Origins, Computed)
		for i := range c.Origins {
			if o := &c.Origins[i]; strings.Contains(o.Row, tagged) {
				o.Row = mark + o.Row
			}
		}
	})
	return n.elem
}

// picked returns an element that a list has at some place: for a list of several rows, that
// of one of them.
func picked(c Column) Column {
	n := shape{elem: &c}.changed(func(c *Column) {
		c.Null = Null{}
		c.Origins = through(c.Origins, Computed)
		for i := range c.Origins {
			if o := &c.Origins[i]; strings.Contains(o.Row, tagged) {
				o.Use, o.Row, o.Own = Aggregated, "", false
			}
		}
	})
	return *n.elem
}

// taken returns the columns into which UNNEST takes a struct apart, or nil.
func (a *analysis) taken(e *expr, s *scope) []Column {
	if e.kind != call || e.name != "unnest" || e.nargs != 1 {
		return nil
	}
	var all []Column
	for _, c := range a.shapeOf(e.args[0], s).fields {
		c.attr, c.made, c.Offset = 0, nil, e.at
		all = append(all, a.passed(c, s))
	}
	return all
}

// hash identifies the text of an expression, without some of its parts.
func (e *expr) hash(but ...string) string {
	h := fnv.New64a()
	n := asObject(bare(e.node))
	for _, k := range but {
		delete(n, k)
	}
	h.Write([]byte((&expr{node: n}).text()))
	return fmt.Sprintf("%x", h.Sum64())
}
