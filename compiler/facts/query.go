package facts

import (
	"fmt"
	"slices"
	"strings"
)

// Query returns the facts of the result of a query. tree is DuckDB's parse tree of it, as
// json_serialize_sql gives it. inputs are the tables that it reads, by name. keys lists
// the sets of columns that identify a row, by the table of a [Root]. result names the
// columns of the result, which DuckDB knows better than the tree.
func Query(tree []byte, inputs map[string]Table, keys map[string][][]string, result []string) (Table, error) {
	q, err := decode(tree)
	if err != nil {
		return Table{}, err
	}
	a := &analysis{keys: keys, same: map[string]string{}, inputs: inputs, scalars: map[*query]relation{}, ranges: map[at]Range{}, units: map[at]Unit{}}
	env := &env{tables: map[string]relation{}}
	for name, t := range inputs {
		t.Columns = slices.Clone(t.Columns)
		for i := range t.Columns {
			c := &t.Columns[i]
			c.Of, c.joins, c.Narrowed, c.Parts = Ref{name, c.Name}, nil, nil, nil
			c.Range = declared(*c)
			c.ordered = c.Range.Kind == Numbers && !c.NaN
			if c.Unit.Text != "" {
				c.Unit.Column, c.Unit.Of = c.Name, c.Of
			}
			if c.Null.Verdict == Maybe {
				c.Null = Null{Verdict: Maybe, Kind: Declared, Offset: -1, Name: c.Name, Of: c.Of}
			}
		}
		if len(t.From) == 0 {
			t.From = []string{unknownTable}
		}
		a.input(&t, name)
		env.tables[strings.ToLower(name)] = relation{Table: t, all: t.ID, empty: true}
	}
	r := a.query(q, env, nil)
	if r.unknown || !r.named(result) {
		r = relation{Table: Table{Columns: make([]Column, len(result)), grain: a.unknown()}, unknown: true}
		for i := range r.Columns {
			r.Columns[i] = Column{Partial: true, Offset: -1}
		}
	}
	for i := range r.Columns {
		r.Columns[i].Name, r.Columns[i].Null = result[i], r.Columns[i].fact()
		r.Columns[i].Origins = a.canonical(r.Columns[i].Origins)
	}
	r.Rows, r.RowsPartial = decisions(r.Rows), r.RowsPartial || r.unknown
	r.Rows = merge(r.Rows)
	r.Findings, r.References = a.findings, a.references(r.Columns)
	return r.Table, nil
}

type analysis struct {
	keys      map[string][][]string
	instances int               // of tables in FROM, so far
	scopes    int               // of SELECTs, so far
	attrs     int               // so far
	unions    int               // so far
	depth     int               // of parts of values that are being looked at
	outer     int               // names that were found in the scope of another query, so far
	same      map[string]string // a union-find of rows, and of values of aggregates
	equal     [][2]Cell         // that conditions make equal
	findings  []Finding
	inputs    map[string]Table
	scalars   map[*query]relation // the results of subqueries in expressions
	strictly  bool                // ranges of columns are those of their domains
	ranges    map[at]Range
	units     map[at]Unit
}

// A relation is a table in a query. The columns of an unknown one are not known.
type relation struct {
	Table
	alias   string
	unknown bool
	all     string // the ID of the input of which it has all rows
	empty   bool   // it may have no rows
	self    bool   // it is the rows before of a recursive query
	one     bool   // it has at least one row
	at      int    // the first byte of its query, or -1
}

// named reports whether a relation may have columns of these names.
func (r relation) named(names []string) bool {
	if len(r.Columns) != len(names) {
		return false
	}
	for i, c := range r.Columns {
		if c.Name != "" && !strings.EqualFold(c.Name, names[i]) {
			return false
		}
	}
	return true
}

// An env holds the tables that a FROM clause may name.
type env struct {
	tables map[string]relation
	outer  *env
}

func (e *env) find(name string) (relation, bool) {
	for ; e != nil; e = e.outer {
		if r, ok := e.tables[strings.ToLower(name)]; ok {
			return r, true
		}
	}
	return relation{}, false
}

// A scope holds what an expression may name.
type scope struct {
	env     *env
	tables  []relation
	hidden  map[string]bool      // columns of USING, after their first table
	merged  map[string]*relation // columns of USING that are of either table
	aliases map[string]Column    // of the select list, so far
	bound   []Column             // parameters of lambdas
	outer   *scope
	id      int     // tells it apart from others
	sets    [][]int // several grouping sets, as indices of by
	by      []*expr // of GROUP BY
	padded  bool    // it takes several lists apart, of which the shorter are filled up with nulls
	// groupedBy are the cells by which the rows are grouped, see [analysis.grouped].
	groupedBy []Class
	group     *group  // set if the SELECT aggregates
	grouped   bool    // in groups of at least one row
	guards    []guard // conditions that hold in the rows of tables
	either    bool    // a RIGHT or FULL join adds rows
	after     []guard // conditions that hold in the rows of the result
	whole     bool    // its rows are not selected
	picked    []*expr // conditions that select its rows, if nothing else does
	equal     map[pair][]string
	rows      []Origin // that decide which rows there are
	partial   bool     // they may have others
	// groups names the columns by which the rows are grouped, and grouping tells that there
	// are no others; see groups.go.
	groups   string
	grouping bool

	grain    *grain
	items    []*expr        // the select list, whose aliases a name may be
	computed map[string]int // attributes of expressions, by their text
}

// A group holds the columns that an aggregated row is grouped by, by row and root table.
type group struct{ by map[[2]string][]string }

func (a *analysis) query(q *query, outer *env, around *scope) relation {
	if q.unknown {
		return relation{unknown: true}
	}
	in := &env{tables: map[string]relation{}, outer: outer}
	for _, c := range q.with {
		r := a.query(c.query, in, around)
		r.rename(c.aliases)
		in.tables[strings.ToLower(c.name)] = r
	}
	if q.recursive != "" {
		return a.recursive(q, in, around)
	}
	if q.parts != nil {
		return a.union(q, in, around)
	}
	return a.selects(q, in, around)
}

func (a *analysis) union(q *query, in *env, around *scope) relation {
	a.unions++
	var parts []relation
	for n, p := range q.parts {
		parts = append(parts, a.member(p, n, in, around))
	}
	return a.unite(q, parts, in, around)
}

// unite returns the result of a set operation of tables.
func (a *analysis) unite(q *query, arms []relation, in *env, around *scope) relation {
	all := arms[0]
	all.Filtered, all.all = all.Filtered || q.limited, ""
	all.at = q.parts[0].at
	parts := []relation{all}
	parts[0].Columns = slices.Clone(all.Columns)
	for n, p := range q.parts[1:] {
		r := arms[n+1]
		r.at = p.at
		ordered := r
		ordered.Columns = make([]Column, len(all.Columns)+len(r.Columns))
		if all.unknown || r.unknown || !q.byName && len(r.Columns) != len(all.Columns) {
			return relation{unknown: true}
		}
		all.Filtered = all.Filtered || r.Filtered
		all.From, all.empty = from(all.Table, r.Table), all.empty && r.empty
		if q.byName {
			all.Columns = byName(all.Columns, r.Columns)
		}
		for i, c := range r.Columns {
			to := i
			if q.byName {
				to = slices.IndexFunc(all.Columns, func(x Column) bool { return strings.EqualFold(x.Name, c.Name) })
			}
			if to < 0 {
				return relation{unknown: true}
			}
			ordered.Columns[to] = c
			all.Columns[to].Origins = merge(all.Columns[to].Origins, c.Origins)
			all.Columns[to].shape = either(all.Columns[to].shape, c.shape)
			all.Columns[to].Of, all.Columns[to].Domain = Ref{}, Domain{}
			all.Columns[to].Null = q.either(all.Columns[to].fact(), c.fact())
			all.Columns[to].joins, all.Columns[to].bound, all.Columns[to].letters = nil, true, ""
			all.Columns[to].Constants = slices.Concat(all.Columns[to].Constants, c.Constants)
			if q.setop == "EXCEPT" || q.setop == "INTERSECT" {
				all.Columns[to].Constants = nil
			}
			a.uniteRanges(&all.Columns[to], c, q)
			all.Columns[to].Partial = all.Columns[to].Partial || c.Partial
		}
		all.Rows, all.RowsPartial = merge(all.Rows, r.Rows), all.RowsPartial || r.RowsPartial
		ordered.Columns = ordered.Columns[:len(all.Columns)]
		parts = append(parts, ordered)
	}
	switch {
	case q.recursive != "":
		a.repeatedly(q, &all)
	case slices.ContainsFunc(parts, func(r relation) bool { return len(r.Columns) != len(all.Columns) }):
		all.grain = a.unknown() // by name, of which some have columns that others lack
	default:
		a.unites(q, &all, parts)
	}
	s := &scope{env: in, tables: []relation{all}, outer: around}
	a.decide(q.picks, s)
	all.Rows, all.RowsPartial = merge(all.Rows, s.rows), all.RowsPartial || s.partial
	return all.deduplicated(q)
}

// member returns the result of a part of a UNION.
func (a *analysis) member(q *query, n int, in *env, around *scope) relation {
	id := a.unions
	r := a.query(q, in, around)
	r.Columns = slices.Clone(r.Columns)
	for i := range r.Columns {
		c := &r.Columns[i]
		c.shape = c.shape.clone()
		c.walk(func(c *Column) {
			c.Origins = slices.Clone(c.Origins)
			for j := range c.Origins {
				if o := &c.Origins[j]; o.Part == "" {
					o.Part = fmt.Sprintf("%d.%d", id, n)
				}
			}
		})
	}
	return r
}

func (a *analysis) selects(q *query, in *env, around *scope) relation {
	a.scopes++
	s := &scope{env: in, hidden: map[string]bool{}, merged: map[string]*relation{}, aliases: map[string]Column{}, outer: around, id: a.scopes, sets: q.sets, by: q.groups,
		grain: &grain{}, computed: map[string]int{}}
	conditions, ok := a.from(q.from, s, in)
	if !ok {
		return relation{unknown: true}
	}
	if q, ok = a.spread(q, s); !ok {
		return relation{unknown: true}
	}
	s.padded = pads(q.items)
	if !a.lasting(q.items, s) {
		s.after = append(s.after, unclear)
	}
	conditions = append(conditions, q.where...)
	s.whole = !q.limited && !slices.ContainsFunc(s.tables, func(r relation) bool { return r.Filtered || r.unknown })
	if s.whole {
		s.picked = slices.DeleteFunc(slices.Clone(conditions), func(e *expr) bool { return !selects(e) })
		s.whole = len(s.picked) == 0
	}
	a.join(conditions, s)
	a.later(conditions, s)
	a.setApart(q, conditions, s)
	a.setGroupsApart(q, conditions, s)
	a.guard(q, s)
	a.compareRanges(conditions, s)
	a.narrowRanges(s)
	clear(a.ranges) // of the columns before
	if q.grouped || len(q.groups) > 0 || slices.ContainsFunc(q.items, aggregates) {
		s.group = a.group(q, conditions, s)
		s.groups, s.grouping = a.groupsOf(q, conditions, s)
		s.groupedBy = a.grouped(q, conditions, s)
	}
	out := a.result(q, s)
	for _, e := range q.items {
		if e.kind == star {
			columns, ok := a.expand(e, s)
			if !ok {
				return relation{unknown: true}
			}
			out.Columns = append(out.Columns, columns...)
			continue
		}
		c := a.item(e, s)
		c.made = e
		if n := len(q.items); q.rows == 1 && e == q.items[n-1] {
			c.Null = never
		}
		a.rangeItem(e, &c, q, s)
		if fields := a.taken(e, s); fields != nil {
			out.Columns = append(out.Columns, fields...)
			continue
		}
		out.Columns = append(out.Columns, c)
		if e.alias != "" {
			s.aliases[strings.ToLower(e.alias)] = c
		}
	}
	for i, list := range [][]*expr{conditions, q.items, q.groups} {
		for _, e := range list {
			a.compare(e, s, i == 0)
			a.compareUnits(e, s)
		}
	}
	a.uniteSets(out.Columns)
	for i := range out.Columns {
		out.Columns[i].Origins = a.canonical(out.Columns[i].Origins)
	}
	a.grain(q, s, &out)
	a.decide(slices.Concat(conditions, q.grouping(), q.items[len(q.items)-q.rows:]), s)
	for _, e := range q.picks {
		a.decide([]*expr{q.item(e)}, s)
	}
	out.Rows, out.RowsPartial = s.rows, s.partial
	return out.deduplicated(q)
}

// item returns the facts of an expression.
func (a *analysis) item(e *expr, s *scope) Column {
	c := Column{Name: e.alias, Offset: e.at}
	if c.Name == "" && e.kind == column {
		c.Name = e.names[len(e.names)-1]
	}
	c.Origins, c.Partial = a.expr(e, s)
	c.letters = a.letters(e, s)
	if e.kind == column {
		if of, ok := a.resolve(e.names, s); ok {
			c.Of, c.Domain, c.Constants, c.Type = of.Of, of.Domain, of.Constants, of.Type
			c.direct, c.tag = of.direct, of.tag
		}
	} else {
		c.Constants = e.constants()
	}
	a.nullItem(e, &c, s)
	c.shape = a.shapeOf(e, s)
	return c
}

// decide adds what expressions are made of to what decides the rows of a scope.
func (a *analysis) decide(exprs []*expr, s *scope) {
	origins, partial := a.all(exprs, s)
	s.rows, s.partial = merge(s.rows, decisions(origins)), s.partial || partial
}

// deduplicated returns a relation of which a query may drop rows that are equal.
func (r relation) deduplicated(q *query) relation {
	if q.distinct {
		for _, c := range r.Columns {
			r.Rows, r.RowsPartial = merge(r.Rows, decisions(c.Origins)), r.RowsPartial || c.Partial
		}
	}
	return r
}

// item returns the item of the select list that a number stands for, or the expression
// itself.
func (q *query) item(e *expr) *expr {
	if e.kind == constant && e.number != nil && *e.number >= 1 && int(*e.number) <= len(q.items) {
		return q.items[*e.number-1]
	}
	return e
}

// selects reports whether a condition selects rows by more than equality with another
// column and presence: perhaps by their time.
func selects(e *expr) bool {
	switch e.kind {
	case notNull:
		return false
	case equal:
		return e.args[0].kind != column || e.args[1].kind != column
	}
	return true
}
