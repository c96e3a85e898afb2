package facts

import (
	"slices"
	"strings"
)

// A join is an outer join that gives nulls in a column, for rows without a match.
type join struct {
	id    string
	cause Null // unknown if a match may be certain
	// without are the columns of a foreign key: there is a match unless one of them is null.
	without []variable
}

// unknownTable stands for the tables that a relation may be made of.
const unknownTable = "?"

// fact returns whether a column may be null.
func (c Column) fact() Null {
	if n := len(c.joins); n > 0 {
		return c.joins[n-1].cause
	}
	return c.Null
}

// plain reports whether the column is one of a table that no query makes, and may have any
// value that its declaration allows.
func (c *Column) plain() bool {
	return len(c.Origins) == 1 && c.Origins[0].Use == Copied && c.Origins[0].Row != "" && !c.Partial && !c.bound && c.Type != ""
}

// apart reports whether two relations are made of different tables, so that neither
// proves anything about the rows of the other.
func apart(a, b []string) bool {
	return len(a) > 0 && len(b) > 0 && !slices.Contains(a, unknownTable) && !slices.Contains(b, unknownTable) &&
		!slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

func from(tables ...Table) []string {
	var all []string
	for _, t := range tables {
		all = append(all, t.From...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// lookup returns the column of a table of FROM that a name stands for, or the field of one,
// or nil.
func (s *scope) lookup(names []string) (*relation, *Column) {
	if slices.ContainsFunc(s.tables, func(t relation) bool { return t.unknown && (len(names) == 1 || strings.EqualFold(t.alias, names[0])) }) {
		return nil, nil
	}
	t, c, path := s.find(names)
	for _, name := range path {
		if c == nil {
			break
		}
		c = c.field(name)
	}
	if c == nil {
		return nil, nil
	}
	return t, c
}

// plain returns the column that an expression is, or nil if it is none whose values are
// free within its declaration.
func (s *scope) plain(e *expr) *Column {
	if e.kind != column || s.binds(e.names) {
		return nil
	}
	if _, c := s.lookup(e.names); c != nil && c.plain() {
		return c
	}
	return nil
}

// anyText returns the column of which an expression is the text, perhaps trimmed or with
// parts replaced, if that may be any text. It still may be no number and no date then.
func (s *scope) anyText(e *expr) *Column {
	args := e.args[:min(e.nargs, len(e.args))]
	switch {
	case e.kind == call && len(args) == 1 && (strings.HasSuffix(e.name, "trim") || e.name == "lower" || e.name == "upper"):
		return s.anyText(args[0])
	case e.kind == call && e.name == "replace" && len(args) == 3 && args[1].kind == constant && args[2].kind == constant:
		return s.anyText(args[0])
	}
	if c := s.plain(e); c != nil && c.Type == "string" && len(c.Domain.Values) == 0 {
		return c
	}
	return nil
}

// whole64 reports whether an expression is a whole number.
func (s *scope) whole64(e *expr) bool {
	if c := s.plain(e); c != nil {
		return strings.Contains(c.Type, "int")
	}
	return e.number != nil
}

// number reports whether an expression is a number.
func (s *scope) number(e *expr) bool {
	if c := s.plain(e); c != nil {
		return strings.Contains(c.Type, "int") || strings.HasPrefix(c.Type, "float")
	}
	return e.value != nil && e.value.Number || e.typ == "OPERATOR_CAST" && e.to == "DOUBLE"
}

// outerJoin notes what a join says about nulls. Its tables are those from n0, the right ones
// from n.
func (a *analysis) outerJoin(f *source, s *scope, n0, n int) {
	left, right := s.tables[n0:n], s.tables[n:]
	if f.inexact && !f.asof { // POSITIONAL fills up the shorter table
		for i := n0; i < len(s.tables); i++ {
			for k := range s.tables[i].Columns {
				s.tables[i].Columns[k].walk(func(c *Column) { c.Null, c.joins, c.bound = Null{}, nil, true })
			}
		}
		return
	}
	if f.kind != "LEFT" && f.kind != "RIGHT" && f.kind != "FULL" && f.kind != "OUTER" {
		if f.kind == "ANTI" {
			return
		}
		for _, e := range f.on {
			s.guards = append(s.guards, guard{e, isTrue})
		}
		a.narrow(s.guards, s)
		for _, name := range f.using {
			s.match(column1(left, name))
			s.match(column1(right, name))
		}
		return
	}
	s.either = s.either || f.kind != "LEFT"
	pairs, exact := f.pairs(s, left, right)
	if f.kind != "RIGHT" {
		a.nullable(f, s, left, right, pairs, exact)
	}
	if f.kind != "LEFT" {
		for i := range pairs {
			pairs[i] = [2]*Column{pairs[i][1], pairs[i][0]}
		}
		a.nullable(f, s, right, left, pairs, exact)
	}
	for _, m := range s.merged { // those of a side that may have no match
		if f.kind != "RIGHT" && m.at >= n || f.kind != "LEFT" && m.at >= n0 && m.at < n {
			m.Columns[0].Null, m.Columns[0].joins, m.Columns[0].bound = Null{}, nil, true
		}
	}
}

// pairs returns the columns of both sides that a join makes equal, and whether it requires
// nothing else.
func (f *source) pairs(s *scope, left, right []relation) (pairs [][2]*Column, exact bool) {
	exact = !f.inexact
	for _, name := range f.using {
		pairs = append(pairs, [2]*Column{column1(left, name), column1(right, name)})
	}
	side := func(tables []relation, e *expr) *Column {
		if e.kind != column {
			return nil
		}
		_, c := (&scope{tables: tables}).lookup(e.names)
		return c
	}
	for _, e := range f.on {
		if e.kind != equal {
			exact = false
			continue
		}
		l, r := side(left, e.args[0]), side(right, e.args[1])
		if l == nil || r == nil {
			l, r = side(left, e.args[1]), side(right, e.args[0])
		}
		if l == nil || r == nil {
			exact = false
			continue
		}
		pairs = append(pairs, [2]*Column{l, r})
	}
	return pairs, exact
}

// nullable notes that the columns of some tables are null in rows of others without a match.
func (a *analysis) nullable(f *source, s *scope, kept, others []relation, pairs [][2]*Column, exact bool) {
	a.instances++
	j := join{id: "join " + strings.Repeat("i", a.instances)}
	if exact {
		without, ok := a.refer(pairs, others)
		if ok && len(without) == 0 {
			return
		}
		j.without = without
	}
	var l, r []Table
	for _, t := range kept {
		l = append(l, t.Table)
	}
	unknown := slices.ContainsFunc(slices.Concat(kept, others), func(t relation) bool { return t.unknown })
	for _, t := range others {
		r = append(r, t.Table)
	}
	if !unknown && (len(pairs) > 0 || f.asof) && apart(from(l...), from(r...)) && (!f.inexact || f.asof) {
		j.cause = Null{Verdict: Maybe, Kind: OuterJoin, Offset: f.at, Name: others[0].alias}
		if f.asof {
			j.cause.Kind = EarlyJoin
		}
	}
	a.tie(f, s, kept, pairs, j.id)
	inner := len(s.guards) > 0
	for i := range others {
		for k := range others[i].Columns {
			c := &others[i].Columns[k]
			bound := c.bound || inner || len(pairs) == 0 || !exact ||
				slices.ContainsFunc(pairs, func(p [2]*Column) bool { return p[1] == c })
			c.walk(func(c *Column) {
				c.joins, c.bound = append(slices.Clone(c.joins), j), c.bound || bound
			})
		}
	}
}

// tie notes which columns of the kept tables are not null in rows with a match.
func (a *analysis) tie(f *source, s *scope, kept []relation, pairs [][2]*Column, id string) {
	var on []guard
	for _, e := range f.on {
		on = append(on, guard{e, isTrue})
	}
	present, _ := a.proven(on, s)
	for _, p := range pairs {
		present[p[0]] = true
	}
	for i := range kept {
		for k := range kept[i].Columns {
			kept[i].Columns[k].walk(func(c *Column) {
				if present[c] {
					c.ties = append(slices.Clone(c.ties), id)
				}
			})
		}
	}
}

// refer reports whether a foreign key ensures that each row has a match among all rows of
// the other table, unless one of some columns is null.
func (a *analysis) refer(pairs [][2]*Column, others []relation) (unless []variable, ok bool) {
	if len(pairs) == 0 || len(others) != 1 || others[0].all == "" {
		return nil, false
	}
	row := ""
	for _, p := range pairs {
		if len(p[0].joins) > 0 || p[0].Of.Input == "" || p[0].Of.Input != pairs[0][0].Of.Input || len(p[0].Origins) != 1 {
			return nil, false
		}
		if r := a.row(p[0].Origins[0].Row); row != "" && r != row {
			return nil, false
		} else {
			row = r
		}
		if p[0].Null != never {
			unless = append(unless, a.variable(p[0]))
		}
	}
	ok = slices.ContainsFunc(a.inputs[pairs[0][0].Of.Input].References, func(ref Reference) bool {
		if ref.Table != others[0].all || len(ref.Columns) != len(pairs) {
			return false
		}
		for i, name := range ref.Columns {
			if !slices.ContainsFunc(pairs, func(p [2]*Column) bool {
				return p[0].Of.Column == name && strings.EqualFold(p[1].Of.Column, ref.Keys[i]) && p[1].Of.Input != ""
			}) {
				return false
			}
		}
		return true
	})
	if !ok {
		return nil, false
	}
	return unless, true
}

// refers reports whether a table may refer to another by a foreign key.
func (a *analysis) refers(t relation, to []string) bool {
	for _, c := range t.Columns {
		if slices.ContainsFunc(a.inputs[c.Of.Input].References, func(r Reference) bool { return slices.Contains(to, r.Table) }) {
			return true
		}
	}
	return false
}

// references returns the foreign keys of inputs that a query passes on.
func (a *analysis) references(columns []Column) []Reference {
	var all []Reference
	for name, in := range a.inputs {
		for _, ref := range in.References {
			passed := Reference{Table: ref.Table, Keys: ref.Keys}
			row, same := "", true
			for _, column := range ref.Columns {
				i := slices.IndexFunc(columns, func(c Column) bool {
					return c.Of == Ref{name, column} && len(c.Origins) == 1 && c.Origins[0].Row != "" && (row == "" || row == c.Origins[0].Row)
				})
				if i < 0 {
					same = false
					break
				}
				row = columns[i].Origins[0].Row
				passed.Columns = append(passed.Columns, columns[i].Name)
			}
			if same {
				all = append(all, passed)
			}
		}
	}
	return all
}

// byName adds to the columns of a UNION BY NAME those that only one of its parts has.
func byName(all, more []Column) []Column {
	all = slices.Clone(all)
	lacks := func(in []Column, c Column) bool {
		return !slices.ContainsFunc(in, func(x Column) bool { return strings.EqualFold(x.Name, c.Name) })
	}
	for i, c := range all {
		if lacks(more, c) {
			all[i].Null = Null{Verdict: Maybe, Kind: NoColumn, Offset: c.Offset, Name: c.Name}
			all[i].joins, all[i].bound, all[i].Of = nil, true, Ref{}
		}
	}
	for _, c := range more {
		if lacks(all, c) {
			all = append(all, Column{Name: c.Name, Offset: c.Offset, bound: true, Null: Null{Verdict: Maybe, Kind: NoColumn, Offset: c.Offset, Name: c.Name}})
		}
	}
	return all
}

// either returns the fact of a column of a set operation of two queries.
func (q *query) either(x, y Null) Null {
	switch {
	case q.limited && (x != never || y != never):
		return Null{} // EXCEPT and INTERSECT select
	case x.Verdict == Maybe:
		return x
	case y.Verdict == Maybe:
		return y
	case x == never && y == never:
		return never
	}
	return Null{}
}

// result returns the relation that a SELECT makes, without its columns.
func (a *analysis) result(q *query, s *scope) relation {
	r := relation{Table: Table{Filtered: !s.whole}}
	var all []Table
	for _, t := range s.tables {
		all = append(all, t.Table)
	}
	r.From = from(all...)
	if slices.ContainsFunc(s.guards, hasSubquery) || slices.ContainsFunc(s.after, hasSubquery) {
		r.From = append(r.From, unknownTable)
	}
	s.grouped = len(q.groups) > 0 || q.grouped && slices.ContainsFunc(q.items, func(e *expr) bool { return !aggregates(e) })
	switch {
	case s.group != nil && !s.grouped:
		r.one = len(s.after) == 0 && !q.limited
	case len(s.tables) == 0:
		r.one = len(q.where) == 0 && !q.limited
	default:
		r.empty = s.tables[0].empty && !s.either
		if len(s.tables) == 1 && s.group == nil && len(q.where) == 0 && !q.limited {
			r.all = s.tables[0].all
		}
	}
	return r
}

func hasSubquery(g guard) bool {
	return g.e.contains(subquery) || g.e.kind == other && len(g.e.args) == 0
}

func (e *expr) contains(k kind) bool {
	return e.kind == k || slices.ContainsFunc(e.args, func(x *expr) bool { return x.contains(k) })
}
