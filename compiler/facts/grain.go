package facts

import (
	"encoding/json"
	"slices"
	"strings"
)

// This file says what the parts of a query do to the grain of its tables.

// identities gives a use of a table attributes of its own.
func (a *analysis) identities(r *relation, f *source) {
	if r.unknown || r.grain == nil {
		r.grain = a.unknown()
		for i := range r.Columns {
			r.Columns[i].attr = 0
		}
		return
	}
	g, to := a.renumber(r.grain)
	for i := range r.Columns {
		r.Columns[i].attr = to(r.Columns[i].attr)
	}
	for i := range g.rows {
		if g.rows[i].kind == RepeatedByTable && g.rows[i].offset < 0 {
			g.rows[i].offset, g.rows[i].table = f.start, f.alias // as the query names it
		}
	}
	r.grain = g
}

// repeats reports whether UNNEST certainly gives several rows for some lists.
func repeats(e *expr) bool {
	if e.kind == call && e.name == "unnest" && len(e.args) == 1 {
		e = e.args[0]
	}
	switch {
	case e.kind == column:
		return true
	case e.kind != call:
		return false
	case e.name == "list_value":
		return len(e.args) > 1
	}
	return slices.Contains([]string{"string_split", "str_split", "split", "string_to_array", "regexp_split_to_array"}, e.name)
}

// A place is one in the grain of a scope: what was added since belongs to one table.
type place struct{ dependencies, rows int }

func (s *scope) place() place { return place{len(s.grain.dependencies), len(s.grain.rows)} }

// joined adds what the condition of a join says. left and right are where its sides begin,
// and pairs the attributes of USING.
func (a *analysis) joined(f *source, s *scope, left, right place, pairs [][2]int) {
	g := s.grain
	l, r := g.rowAttrs()[left.rows:right.rows], g.rowAttrs()[right.rows:]
	end := len(g.dependencies)
	on := &scope{env: s.env, tables: s.tables, hidden: s.hidden, outer: s.outer, grain: g, computed: map[string]int{}}
	matched := func() {
		for _, e := range f.on {
			a.requires(e, on)
		}
		for _, p := range pairs {
			g.depends([]int{p[0]}, p[1])
			g.depends([]int{p[1]}, p[0])
		}
	}
	// pads makes all columns of a side null in some rows.
	pads := func(from, to int) {
		var rows []int
		if from == left.dependencies {
			rows = l
		} else {
			rows = r
		}
		for i := from; i < to; i++ {
			if d := &g.dependencies[i]; len(d.from) == 0 && !d.may {
				d.may = true
				g.depends(rows, d.to)
			}
		}
	}
	// finds keeps what is proven of the rows that a side finds in the other.
	finds := func(side, other []int) {
		known := g.closure(side, proven)
		for i := end; i < len(g.dependencies); i++ {
			g.dependencies[i].may = true
		}
		for _, o := range other {
			if known[o] {
				g.depends(side, o)
			}
		}
	}
	switch {
	case f.asof:
		matched()
		finds(l, nil)
		if f.kind == "LEFT" || f.kind == "INNER" {
			g.depends(l, r...)
		} else {
			g.unclear()
		}
		if f.kind != "INNER" {
			pads(right.dependencies, end)
		}
	case f.kind == "INNER" && !f.inexact:
		matched()
	case f.kind == "LEFT" && !f.inexact:
		matched()
		finds(l, r)
		pads(right.dependencies, end)
	case f.kind == "RIGHT" && !f.inexact:
		matched()
		finds(r, l)
		pads(left.dependencies, right.dependencies)
	case f.kind == "FULL" || f.kind == "OUTER":
		matched()
		finds(nil, nil)
		pads(left.dependencies, right.dependencies)
		pads(right.dependencies, end)
	default: // SEMI, ANTI and others
		matched()
		finds(nil, nil)
		g.selective = true
	}
	if f.kind == "SEMI" || f.kind == "ANTI" {
		g.rows = g.rows[:right.rows]
	}
}

// requires adds what a condition that holds in all rows says.
func (a *analysis) requires(e *expr, s *scope) {
	g := s.grain
	if e.asks() {
		g.selective = true
		return
	}
	if slices.ContainsFunc(a.named(e, s), func(x int) bool { return g.across[x] }) {
		g.selective = true
	}
	if e.kind == equal {
		l, r := e.args[0], e.args[1]
		x, y := a.identity(l, s), a.identity(r, s)
		if l.constant() {
			l, r, x, y = r, l, y, x
		}
		if r.constant() && !l.constant() {
			g.dependencies = append(g.dependencies, dependency{to: x, pin: true})
			if by := g.orders[x]; by != 0 {
				// Who takes one row of many in the order of a period does not expect that the
				// period itself leaves one.
				g.conditions = slices.DeleteFunc(slices.Clone(g.conditions), func(c condition) bool { return c.period == by })
			}
			if l.kind != column && l.kind != window || l.kind == column && !g.keyed(x) {
				g.conditions = append(g.conditions, condition{attrs: []int{x}, rows: g.rowAttrs()})
			}
			return
		}
		g.depends([]int{x}, y)
		g.depends([]int{y}, x)
		return
	}
	if e.kind == notNull && len(e.args) == 1 && e.args[0].kind == column && g.keyed(a.identity(e.args[0], s)) {
		return
	}
	if attrs := a.named(e, s); len(attrs) > 0 {
		c := condition{attrs: attrs, rows: g.rowAttrs()}
		if len(attrs) == 1 && g.keyed(attrs[0]) && e.period() {
			c.period = attrs[0]
		}
		g.conditions = append(g.conditions, c)
	}
}

// period reports whether a condition compares a column with constants by their order.
func (e *expr) period() bool {
	return e.kind == compares && e.op != "in" && e.op != "<>" &&
		slices.ContainsFunc(e.args, func(x *expr) bool { return x.kind == column }) &&
		!slices.ContainsFunc(e.args, func(x *expr) bool { return x.kind != column && !x.constant() })
}

// keyed reports whether an attribute is a column of a key, or numbers rows. Conditions on
// other columns, such as a flag, may select one row of many.
func (g *grain) keyed(attr int) bool {
	return g.numbers[attr] || slices.ContainsFunc(g.rows, func(r row) bool {
		return slices.ContainsFunc(r.columns, func(c named) bool {
			return c.attr == attr && slices.ContainsFunc(r.keys, func(k []string) bool { return slices.Contains(k, c.name) })
		})
	})
}

// named returns the attributes that an expression is made of.
func (a *analysis) named(e *expr, s *scope) []int {
	switch {
	case e.kind == column && s.binds(e.names):
		return nil
	case e.kind == column, e.kind == window, e.kind == subquery, e.kind == star, e.kind == call && Aggregate(e.name):
		return []int{a.identity(e, s)}
	}
	if len(e.bound) > 0 {
		s = s.within(e.bound)
	}
	var all []int
	for _, x := range slices.Concat(e.args, e.orders) {
		all = append(all, a.named(x, s)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// asks reports whether an expression has a subquery.
func (e *expr) asks() bool {
	return e.kind == subquery || slices.ContainsFunc(slices.Concat(e.args, e.orders, e.partitions), (*expr).asks)
}

// constant reports whether an expression has one value.
func (e *expr) constant() bool {
	switch e.kind {
	case column, star, window, subquery:
		return false
	case call:
		if Aggregate(e.name) || e.name == "unnest" {
			return false
		}
	}
	return !slices.ContainsFunc(slices.Concat(e.args, e.orders), func(x *expr) bool { return !x.constant() })
}

// unnests returns the UNNEST in an expression, or nil.
func (e *expr) unnests() *expr {
	if e.kind == call && e.name == "unnest" {
		return e
	}
	for _, x := range e.args {
		if u := x.unnests(); u != nil {
			return u
		}
	}
	return nil
}

// numbers reports whether an expression takes a list of different constants apart.
func (e *expr) numbers() bool {
	if e.kind != call || e.name != "unnest" || len(e.args) != 1 || e.args[0].kind != call || e.args[0].name != "list_value" {
		return false
	}
	seen := map[string]bool{}
	for _, x := range e.args[0].args {
		if x.value == nil || seen[x.value.Text] {
			return false
		}
		seen[x.value.Text] = true
	}
	return true
}

// identity returns the attribute of an expression.
func (a *analysis) identity(e *expr, s *scope) int {
	g := s.grain
	outer := a.outer
	if e.kind == column {
		if c, ok := a.resolve(e.names, s); ok && c.attr != 0 && len(c.Name) > 0 {
			return c.attr
		}
	}
	key := e.text()
	if attr := s.computed[key]; attr != 0 {
		return attr
	}
	attr := a.attr()
	s.computed[key] = attr
	if e.kind == column && len(e.names) == 1 {
		if i := slices.IndexFunc(s.items, func(x *expr) bool { return strings.EqualFold(x.alias, e.names[0]) }); i >= 0 {
			s.computed[key] = a.identity(s.items[i], s)
			return s.computed[key]
		}
	}
	opaque := func() {
		mark(&g.across, attr)
		g.depends(g.rowAttrs(), attr)
		g.may([]int{attr}, g.rowAttrs()...)
	}
	switch {
	case e.kind == column && a.outer > outer:
		g.depends(nil, attr) // it does not differ in this subquery
	case e.kind == window && e.name == "row_number":
		by := []int{attr}
		for _, p := range e.partitions {
			by = append(by, a.identity(p, s))
		}
		g.depends(by, g.rowAttrs()...)
		g.depends(g.rowAttrs(), attr)
		mark(&g.numbers, attr)
		if len(e.orders) > 0 && e.orders[0].kind == column {
			g.ordersBy(attr, a.identity(e.orders[0], s))
		}
	case e.kind == column, e.kind == window, e.kind == subquery, e.kind == star, e.asks(), e.kind == call && Aggregate(e.name), e.unnests() != nil:
		opaque()
	case e.constant():
		g.depends(nil, attr)
	default:
		of := a.named(e, s)
		if slices.ContainsFunc(of, func(x int) bool { return g.across[x] }) {
			mark(&g.across, attr)
		}
		g.depends(of, attr)
		g.may([]int{attr}, of...)
	}
	return attr
}

func mark(s *map[int]bool, attr int) {
	if *s == nil {
		*s = map[int]bool{}
	}
	(*s)[attr] = true
}

// text returns what an expression says, without its alias and its places.
func (e *expr) text() string {
	b, _ := json.Marshal(bare(e.node))
	return string(b)
}

func bare(n any) any {
	switch n := n.(type) {
	case []any:
		out := make([]any, len(n))
		for i, x := range n {
			out[i] = bare(x)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, x := range n {
			if k != "query_location" && k != "alias" {
				out[k] = bare(x)
			}
		}
		return out
	}
	return n
}

// grain gives the result of a SELECT its grain. Its tables and their joins are in the scope.
func (a *analysis) grain(q *query, s *scope, out *relation) {
	g := s.grain
	s.items, s.computed = q.items, map[string]int{}
	for _, e := range q.where[:q.wheres] {
		a.requires(e, s)
	}
	if q.grouped || len(q.groups) > 0 || slices.ContainsFunc(slices.Concat(q.items, q.where[q.wheres:]), aggregates) {
		a.regroups(q, s)
	}
	beside := g.rowAttrs()
	for _, e := range q.items {
		if u := e.unnests(); u != nil {
			many := row{attr: a.attr(), kind: RepeatedByUnnest, offset: u.at}
			if u.pivoted {
				many.kind = RepeatedByUnpivot
			}
			g.rows = append(g.rows, many)
			if !repeats(u) {
				g.may(nil, many.attr)
			}
			for _, e := range q.items {
				if e.numbers() {
					g.depends(append(slices.Clone(beside), a.identity(e, s)), many.attr)
				}
			}
			break
		}
	}
	for _, e := range q.where[q.wheres:] {
		a.requires(e, s)
	}
	for i := range out.Columns {
		c := &out.Columns[i]
		if c.made != nil {
			c.attr = a.identity(c.made, s)
			c.tag = nil
			if c.made.kind == constant {
				c.tag = c.made.value
			}
		} else if c.attr == 0 {
			c.attr = a.attr()
			g.may([]int{c.attr}, g.rowAttrs()...)
		}
		c.made = nil
	}
	a.modified(q, s, out)
	out.grain = g
	if len(g.dependencies) > limit {
		out.grain = a.unknown()
	}
}

// regroups makes one row of each group.
func (a *analysis) regroups(q *query, s *scope) {
	g := s.grain
	groups := q.groups
	if q.grouped {
		groups = slices.DeleteFunc(slices.Clone(q.items), aggregates)
	}
	one := row{attr: a.attr(), kind: RepeatedByGroup, offset: -1}
	if slices.ContainsFunc(q.items, func(e *expr) bool { return e.pivoted }) {
		one.kind = RepeatedByPivot
	}
	var by []int
	unclear := s.sets != nil
	for _, e := range groups {
		if one.offset < 0 || !q.grouped && e.at >= 0 && e.at < one.offset {
			one.offset = e.at
		}
		if !q.grouped {
			e = position(e, q)
		}
		if e.kind == star || e.unnests() != nil {
			unclear = true // grouped by what this does not follow
			continue
		}
		attr := a.identity(e, s)
		by = append(by, attr)
		one.columns = append(one.columns, named{e.written(), attr})
		g.depends([]int{one.attr}, attr)
	}
	if s.sets != nil { // a column is null in some rows, whatever it was before
		for i := range g.dependencies {
			d := &g.dependencies[i]
			d.may = d.may || !slices.Equal(d.from, []int{one.attr})
		}
	}
	if !unclear {
		g.depends(by, one.attr)
	}
	g.rows = []row{one}
	if unclear {
		g.unclear()
	}
}

// position returns the item that a number in GROUP BY or DISTINCT ON stands for, or the
// expression itself.
func position(e *expr, q *query) *expr {
	if e.kind == constant && e.number != nil && *e.number >= 1 && int(*e.number) <= len(q.items) {
		return q.items[*e.number-1]
	}
	return e
}

// written names an expression in a message.
func (e *expr) written() string {
	switch {
	case e.alias != "":
		return e.alias
	case e.kind == column:
		return e.names[len(e.names)-1]
	}
	return "an expression"
}

// modified applies DISTINCT and LIMIT.
func (a *analysis) modified(q *query, s *scope, out *relation) {
	g := s.grain
	var all []int
	for _, c := range out.Columns {
		all = append(all, c.attr)
	}
	switch {
	case q.distinctOn != nil:
		one := row{attr: a.attr(), kind: RepeatedByDistinct, offset: -1}
		var by []int
		for _, e := range q.distinctOn {
			if one.offset < 0 {
				one.offset = e.at
			}
			e = position(e, q)
			attr := a.identity(e, s)
			by = append(by, attr)
			one.columns = append(one.columns, named{e.written(), attr})
		}
		g.depends(by, one.attr)
		g.depends([]int{one.attr}, slices.Concat(by, g.rowAttrs())...)
		g.depends(g.rowAttrs(), one.attr)
		g.rows = []row{one}
	case q.distinct && !g.unique(all):
		one := row{attr: a.attr(), kind: RepeatedByDistinct, offset: -1}
		for _, c := range out.Columns {
			one.columns = append(one.columns, named{c.Name, c.attr})
		}
		if len(q.items) > 0 {
			one.offset = q.items[0].at
		}
		g.depends(all, one.attr)
		g.depends([]int{one.attr}, all...)
		g.rows = []row{one}
	}
	a.limits(q, g)
}

func (a *analysis) limits(q *query, g *grain) {
	switch {
	case q.limit != nil && *q.limit == 1:
		g.depends(nil, g.rowAttrs()...)
	case q.sampled || q.limit != nil && *q.limit < 1:
		g.unclear()
	}
}
