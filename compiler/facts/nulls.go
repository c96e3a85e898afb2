package facts

import (
	"slices"
	"strings"
)

// A Null tells whether a column or an expression may be null, and because of what. The zero
// Null is unknown.
type Null struct {
	Verdict Verdict
	// The others are set for Maybe.
	Kind   Kind   // the construct
	Offset int    // of the construct in the query, or -1
	Name   string // the column, the function or the table that it concerns
	Of     Ref    // the column of an input, if Kind is Declared
}

// A Verdict is what is known about nulls.
type Verdict int

// The verdicts. Maybe says that the declarations allow rows that give a null.
const (
	Unknown Verdict = iota
	Never
	Maybe
)

// A Kind is a construct that gives nulls.
type Kind string

// The constructs that give nulls.
const (
	Declared  Kind = "declared"  // a column that is declared nullable
	OuterJoin Kind = "join"      // a row without a match
	EarlyJoin Kind = "asof"      // a row without an earlier match
	NoRows    Kind = "no rows"   // an aggregate of no rows, without GROUP BY
	NoRow     Kind = "no row"    // a scalar subquery
	NoneLeft  Kind = "filter"    // an aggregate whose FILTER leaves no row
	NoCell    Kind = "pivot"     // a group without a row for a value of PIVOT
	Total     Kind = "total"     // a row that is grouped by other columns
	OneRow    Kind = "one row"   // an aggregate that needs several rows
	Frame     Kind = "frame"     // an aggregate over an empty frame
	FirstRow  Kind = "first row" // lag and the like
	LastRow   Kind = "last row"  // lead and the like
	Zero      Kind = "zero"      // division
	Cast      Kind = "cast"      // TRY_CAST
	NullIf    Kind = "nullif"
	NoElse    Kind = "else" // CASE
	NullValue Kind = "null" // the constant
	NoText    Kind = "text" // a function of a text
	NoColumn  Kind = "column"
)

var never = Null{Verdict: Never}

// strict lists functions that are null if, and only if, an argument is.
var strict = map[string]bool{}

// sparse lists aggregates of rows that are null if, and only if, their arguments are null
// in all rows.
var sparse = map[string]bool{}

// several lists aggregates that are null for one row.
var several = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`+ - * || abs round floor ceil ceiling trunc sign upper lower trim ltrim rtrim length
		strlen replace reverse contains starts_with ends_with prefix suffix ~~ !~~ ~~* !~~* like_escape regexp_matches
		regexp_replace substr substring left right lpad rpad repeat md5 sha256 sqrt exp ln log log2 log10 pow power sin cos`) {
		strict[name] = true
	}
	for _, name := range strings.Fields(`sum avg mean min max first last any_value arbitrary median mode string_agg
		group_concat listagg bool_and bool_or product bit_and bit_or bit_xor stddev_pop var_pop fsum favg kahan_sum
		sumkahan count_if countif quantile_cont quantile_disc arg_max arg_min max_by min_by`) {
		sparse[name] = true
	}
	for _, name := range strings.Fields("stddev stddev_samp variance var_samp covar_samp") {
		several[name] = true
	}
}

// null returns whether an expression may be null. path holds the conditions under which it
// is evaluated, such as those of a CASE.
func (a *analysis) null(e *expr, s *scope, path []guard) Null {
	maybe := func(k Kind, at int, name string) Null { return Null{Verdict: Maybe, Kind: k, Offset: at, Name: name} }
	guards := slices.Concat(s.guards, path)
	if s.group != nil {
		guards = slices.Concat(s.guards, s.after, path)
	}
	switch e.kind {
	case constant:
		if e.null {
			return a.allowed(maybe(NullValue, e.at, "NULL"), guards, s, target{})
		}
		return never
	case column:
		return a.nullColumn(e, s, guards, path)
	case notNull:
		return never
	case equal, compares:
		return a.nullAll(e.args, s, path)
	case cases:
		return a.nullCase(e, s, path)
	case window:
		return a.nullWindow(e, s, path)
	case subquery:
		return a.nullSubquery(e, s, path)
	case star:
		return Null{}
	}
	args := e.args[:min(e.nargs, len(e.args))]
	if f := a.extracted(e, s); f != nil {
		if f.fact() == never {
			return never
		}
		return Null{}
	}
	switch e.typ {
	case "GROUPING_FUNCTION":
		return never
	case "OPERATOR_IS_NULL", "COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM":
		return never
	case "OPERATOR_NOT":
		return a.nullAll(args, s, path)
	case "OPERATOR_CAST":
		if len(e.args) != 1 {
			return Null{}
		}
		n := a.null(e.args[0], s, path)
		if !e.try || n.Verdict == Maybe || e.to == "VARCHAR" {
			return n
		}
		if c := s.anyText(e.args[0]); c != nil && !s.mentions(a, c, path) {
			return a.allowed(maybe(Cast, e.sign, c.Name), guards, s, target{})
		}
		return Null{}
	case "OPERATOR_COALESCE":
		return a.nullCoalesce(args, s, path)
	case "CONJUNCTION_AND", "CONJUNCTION_OR":
		if a.nullAll(e.args, s, path) == never {
			return never
		}
		return Null{}
	}
	if e.kind != call {
		return Null{}
	}
	if name := e.name; name == "concat" || name == "greatest" || name == "least" {
		for _, x := range args {
			if n := a.null(x, s, path); n == never || name != "concat" && len(args) == 1 {
				return n
			}
		}
		return Null{}
	}
	n := a.nullAll(args, s, path)
	switch name := e.name; {
	case (name == "list" || name == "array_agg") && s.group != nil && s.grouped && !e.filter:
		return never
	case Aggregate(name):
		return a.nullAggregate(e, args, s, path)
	case name == "list_value" || name == "struct_pack" || name == "row":
		return never
	case name == "unnest" && len(args) == 1 && !s.padded:
		if list := args[0]; list.kind == call && list.name == "list_value" {
			return a.nullAll(list.args, s, path)
		}
		if elem := a.unnested(e, s); elem != nil && elem.Null == never {
			return never
		}
	case len(args) == 2 && (name == "//" || name == "%" || name == "mod" || name == "divide"):
		if n.Verdict == Maybe {
			return n
		}
		zero := a.zero(args[1], s, guards, path)
		whole := name == "//" || name == "divide" || s.whole64(args[0]) && s.whole64(args[1]) // x % 0.0 is NaN
		switch {
		case zero == Never && n == never:
			return never
		case zero == Maybe && whole:
			return maybe(Zero, e.sign, s.plain(args[1]).Name)
		}
	case len(args) == 2 && name == "/":
		if n == never && !(s.number(args[0]) && s.number(args[1])) { // an interval / 0 is NULL
			return Null{}
		}
		return n
	case name == "nullif" && len(args) == 2:
		return a.nullIf(e, args, s, guards, path)
	case name == "try_strptime" || name == "->>" || name == "json_extract_string" || name == "json_extract":
		if n.Verdict == Maybe {
			return n
		}
		if c := s.anyText(args[0]); c != nil && !s.mentions(a, c, path) {
			return a.allowed(maybe(NoText, e.sign, name), guards, s, target{})
		}
	case strict[name]:
		return n
	}
	return Null{}
}

// allowed returns a null if the conditions allow it, and unknown otherwise.
func (a *analysis) allowed(n Null, guards []guard, s *scope, t target) Null {
	if n.Verdict != Maybe || a.possible(guards, s, t) {
		return n
	}
	return Null{}
}

// nullAll returns whether one of several expressions may be null.
func (a *analysis) nullAll(exprs []*expr, s *scope, path []guard) Null {
	all := never
	for _, e := range exprs {
		switch n := a.null(e, s, path); n.Verdict {
		case Maybe:
			return n
		case Unknown:
			all = n
		}
	}
	return all
}

func (a *analysis) nullColumn(e *expr, s *scope, guards, path []guard) Null {
	if s.binds(e.names) {
		return Null{}
	}
	t, c := s.lookup(e.names)
	if c == nil {
		alias, ok := s.aliases[strings.ToLower(e.names[0])]
		if !ok || len(e.names) > 1 || slices.ContainsFunc(s.tables, func(r relation) bool { return r.unknown }) {
			return Null{}
		}
		return a.allowed(alias.fact(), guards, s, target{})
	}
	proven, matched := a.proven(path, s)
	if proven[c] || slices.ContainsFunc(c.ties, func(id string) bool { return matched[id] }) {
		return never
	}
	joins := slices.DeleteFunc(slices.Clone(c.joins), func(j join) bool { return matched[j.id] })
	if len(joins) > 0 {
		n := Column{joins: joins}.fact()
		return a.allowed(n, guards, s, c.unmatched(joins[len(joins)-1]))
	}
	n := c.Null
	if n.Verdict != Maybe {
		return n
	}
	to := target{ties: c.ties}
	if n.Kind != Declared {
		to.absent = c
	} else {
		if n.Offset < 0 {
			n.Offset = e.at
		}
		if !a.free(c, s, path, &to) {
			return Null{}
		}
	}
	if n.Kind == NoRows && slices.ContainsFunc(s.tables, func(r relation) bool { return r.alias != t.alias && !apart(r.From, t.From) }) {
		return Null{} // the other table shows that there are rows
	}
	return a.allowed(n, guards, s, to)
}

// free reports whether a column that is declared nullable may be null as far as it is known
// here, and sets what has to be possible.
func (a *analysis) free(c *Column, s *scope, path []guard, to *target) bool {
	if c.plain() {
		to.null = a.variable(c)
		return true
	}
	return !c.bound && !s.mentions(a, c, path)
}

// unmatched returns what has to be possible for a column to be null because of a join.
func (c *Column) unmatched(j join) target {
	return target{join: j.id, ties: c.ties, without: j.without}
}

// passed returns a column of a table as a query passes it on.
func (a *analysis) passed(c Column, s *scope) Column {
	guards := slices.Concat(s.guards, s.after)
	if len(c.joins) > 0 && !a.possible(guards, s, c.unmatched(c.joins[len(c.joins)-1])) {
		c.joins, c.Null = nil, Null{}
	}
	if len(c.joins) == 0 && c.Null.Verdict == Maybe {
		to := target{ties: c.ties}
		if c.Null.Kind == Declared && !a.free(&c, s, nil, &to) || !a.possible(guards, s, to) {
			c.Null = Null{}
		}
	}
	c.bound = c.bound || s.mentions(a, &c, nil)
	return c
}

// nullItem sets the null fact of a column of the select list.
func (a *analysis) nullItem(e *expr, c *Column, s *scope) {
	t, of := (*relation)(nil), (*Column)(nil)
	if e.kind == column && !s.binds(e.names) {
		t, of = s.lookup(e.names)
	}
	switch {
	case s.sets != nil:
		c.Null = a.nullTotal(e, s)
	case of != nil:
		n := a.nullColumn(e, s, slices.Concat(s.guards, s.after), nil)
		p := a.passed(*of, s)
		c.joins, c.ties, c.bound, c.Null = p.joins, p.ties, p.bound, p.Null
		if len(c.joins) == 0 && c.Null.Verdict == Maybe {
			c.Null = n
		}
		if n.Verdict == Unknown && t != nil {
			c.joins, c.Null = nil, Null{}
		}
	default:
		c.Null = a.null(e, s, s.after)
	}
}

// nullTotal returns whether an item of a SELECT with several grouping sets may be null.
func (a *analysis) nullTotal(e *expr, s *scope) Null {
	if e.kind == call && Aggregate(e.name) && !sparse[e.name] || e.typ == "GROUPING_FUNCTION" {
		return a.null(e, s, s.after)
	}
	if len(s.after) > 0 {
		return Null{}
	}
	i := slices.IndexFunc(s.by, func(g *expr) bool { return g.text() == e.text() })
	if i < 0 {
		return Null{}
	}
	for _, set := range s.sets {
		if !slices.Contains(set, i) {
			return Null{Verdict: Maybe, Kind: Total, Offset: s.by[i].at, Name: e.written()}
		}
	}
	return a.null(e, s, nil)
}

func (a *analysis) nullCoalesce(args []*expr, s *scope, path []guard) Null {
	var all []Null
	path = slices.Clone(path)
	for _, x := range args {
		n := a.null(x, s, path)
		path = append(path, guard{&expr{kind: other, typ: "OPERATOR_IS_NULL", args: []*expr{x}}, isTrue})
		if n == never {
			return never
		}
		all = append(all, n)
	}
	last := all[len(all)-1]
	for _, n := range all {
		if n.Verdict != Maybe || n.Kind != last.Kind || n.Kind != Declared && n.Kind != OuterJoin || n.Kind == OuterJoin && n != last {
			return Null{}
		}
	}
	return last
}

// nullCase returns whether a CASE may be null. Its args are the conditions and the arms.
func (a *analysis) nullCase(e *expr, s *scope, path []guard) Null {
	whens := e.args[:len(e.args)-len(e.arms)]
	all := never
	inner := slices.Clone(path)
	for i, arm := range e.arms {
		at := slices.Clone(inner)
		if i < len(whens) {
			at = append(at, guard{whens[i], isTrue})
			inner = append(inner, guard{whens[i], notTrue})
		}
		n := a.null(arm, s, at)
		if arm.kind == constant && arm.null && arm.at < 0 && n.Verdict == Maybe {
			n.Kind, n.Offset = NoElse, e.sign
		}
		switch {
		case n.Verdict == Maybe:
			return n
		case n.Verdict == Unknown:
			all = n
		}
	}
	return all
}

func (a *analysis) nullIf(e *expr, args []*expr, s *scope, guards, path []guard) Null {
	n := a.null(args[0], s, path)
	c := s.plain(args[0])
	if n.Verdict == Maybe || c == nil || args[1].value == nil {
		if n.Verdict == Maybe {
			return n
		}
		return Null{}
	}
	if !c.Domain.Allows(*args[1].value) {
		return n
	}
	same := &expr{kind: equal, op: "=", args: args}
	return a.allowed(Null{Verdict: Maybe, Kind: NullIf, Offset: e.sign, Name: c.Name}, append(slices.Clone(guards), guard{same, isTrue}), s, target{})
}

func (a *analysis) nullAggregate(e *expr, args []*expr, s *scope, path []guard) Null {
	switch e.name {
	case "count", "count_star", "approx_count_distinct", "regr_count", "entropy":
		return never
	}
	after := slices.Concat(s.after, path)
	maybe := func(k Kind) Null { return Null{Verdict: Maybe, Kind: k, Offset: e.sign, Name: e.name} }
	if !sparse[e.name] && !several[e.name] || s.group == nil {
		return Null{}
	}
	if !s.grouped {
		// A table that nothing selects from is taken to have rows.
		selected := len(s.guards) > 0 || e.filter
		if selected && len(s.tables) > 0 && s.tables[0].empty && !s.either {
			return a.allowed(maybe(NoRows), after, s, target{})
		}
		return Null{}
	}
	if several[e.name] {
		return a.allowed(maybe(OneRow), slices.DeleteFunc(after, ofOneRow), s, target{})
	}
	// The arguments are of the rows, before HAVING.
	rows := *s
	rows.after, rows.group = nil, nil
	n := a.nullAll(args, &rows, nil)
	if e.filter {
		filter := e.args[e.nargs:]
		if len(filter) == 0 || n.Verdict == Maybe {
			return Null{}
		}
		if !a.possible(append(slices.Clone(s.guards), guard{filter[0], notTrue}), s, target{}) {
			return Null{}
		}
		if e.pivoted {
			return a.allowed(maybe(NoCell), after, s, target{})
		}
		return a.allowed(maybe(NoneLeft), after, s, target{})
	}
	return a.allowed(n, after, s, target{})
}

// ofOneRow reports whether a condition on the number of rows of a group holds for one row.
func ofOneRow(g guard) bool {
	e := g.e
	if g.is != isTrue || len(e.args) != 2 || e.args[0].kind != call || e.args[0].name != "count_star" || e.args[0].filter || e.args[1].number == nil {
		return false
	}
	holds, ok := compared(e.op, 1.0, float64(*e.args[1].number))
	return ok && holds == true
}

func (a *analysis) nullSubquery(e *expr, s *scope, path []guard) Null {
	if e.exists {
		return never
	}
	r, ok := a.scalars[e.query]
	if len(e.args) > 0 || !ok || r.unknown || len(r.Columns) != 1 {
		return Null{}
	}
	n := r.Columns[0].fact()
	if n == never && r.one {
		return never
	}
	for outer := s; outer != nil; outer = outer.outer {
		if slices.ContainsFunc(outer.tables, func(t relation) bool { return !apart(t.From, r.From) || a.refers(t, r.From) }) {
			return Null{} // its rows may show that the subquery has one
		}
	}
	if n.Verdict != Maybe && r.empty && len(e.query.where) > 0 {
		n = Null{Verdict: Maybe, Kind: NoRow, Offset: e.at}
	}
	if n.Verdict != Maybe {
		return Null{}
	}
	return a.allowed(n, slices.Concat(s.guards, s.after, path), s, target{})
}

func (a *analysis) nullWindow(e *expr, s *scope, path []guard) Null {
	after := slices.Concat(s.after, path)
	args := e.args[:min(e.nargs, len(e.args))]
	maybe := func(k Kind) Null {
		return a.allowed(Null{Verdict: Maybe, Kind: k, Offset: e.sign, Name: e.name}, after, s, target{})
	}
	// The arguments are of the rows, before QUALIFY.
	rows := *s
	rows.after = nil
	n := a.nullAll(args, &rows, nil)
	switch e.name {
	case "row_number", "rank", "dense_rank", "rank_dense", "percent_rank", "cume_dist", "ntile", "count", "count_star":
		return never
	case "lag", "lead":
		by := int64(1)
		if e.startAt != nil {
			by = *e.startAt
		}
		fallback := e.args[len(args):]
		switch {
		case by == 0 || len(fallback) > 0 && n.Verdict != Never:
			return a.allowed(n, after, s, target{})
		case len(fallback) > 0:
			return a.allowed(a.nullAll(fallback, &rows, nil), after, s, target{})
		case (e.name == "lag") == (by > 0):
			return maybe(FirstRow)
		}
		return maybe(LastRow)
	}
	own, _ := e.frame()
	switch {
	case !sparse[e.name] && e.name != "first_value" && e.name != "last_value" || e.filter:
		return Null{}
	case own:
		return a.allowed(n, after, s, target{})
	case !strings.HasSuffix(e.start, "_ROWS") && !strings.HasPrefix(e.start, "UNBOUNDED") || !strings.HasSuffix(e.end, "_ROWS") && !strings.HasPrefix(e.end, "UNBOUNDED"):
		return Null{}
	case strings.HasPrefix(e.end, "EXPR_PRECEDING") && e.endAt != nil, strings.HasPrefix(e.start, "EXPR_FOLLOWING") && e.startAt != nil, !e.current:
		return maybe(Frame)
	}
	return Null{}
}
