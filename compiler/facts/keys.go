package facts

import "slices"

// Keys follow from dependencies between attributes. An attribute is a column of one use of
// a table, or the row itself: a set of columns is unique if it determines the rows that a
// row of the result is made of.
//
// Some dependencies are proven. Others are only possible: the query has something that may
// make them true, such as a filter on a flag. A set is unique if the proven ones say so, and
// certainly not unique if not even the possible ones do.

// A dependency tells that the attributes `from` determine the attribute `to`.
type dependency struct {
	from []int
	to   int
	may  bool // possible, not proven
	pin  bool // because a condition requires a constant
}

// A condition selects rows by something that is not a dependency. It may make any of the
// rows unique, unless a key determines its attributes and so its value.
type condition struct {
	attrs, rows []int
	period      int // the only attribute, if it is compared with the ends of a period, or 0
}

// A grain tells what identifies the rows of a table.
type grain struct {
	dependencies []dependency
	conditions   []condition
	rows         []row
	numbers      map[int]bool // columns that number rows, with row_number()
	orders       map[int]int  // the first columns by which these order rows
	across       map[int]bool // columns whose values depend on other rows
	selective    bool         // a condition depends on other rows, so that any rows may be unique
}

// A row is a reason for which a table has several rows.
type row struct {
	attr    int
	kind    string // of a Repeat
	input   string // that the table is
	table   string // its name in the query
	offset  int
	columns []named    // of a table, or those of GROUP BY or DISTINCT
	keys    [][]string // of a table
	parts   []part     // of a union
	keyless bool       // its table declares no key, so that it may be unique by any columns
}

type named struct {
	name string
	attr int
}

// A part is an arm of a union.
type part struct {
	grain   *grain
	columns []int
}

// The kinds of repeats.
const (
	RepeatedByTable    = "table"    // a table has many rows per key
	RepeatedByGroup    = "group"    // GROUP BY has more columns
	RepeatedByDistinct = "distinct" // DISTINCT has more columns
	RepeatedByUnion    = "union"    // UNION joins tables with the same keys
	RepeatedByUnnest   = "unnest"   // a row for each element of a list
	RepeatedByPivot    = "pivot"    // PIVOT has more columns
	RepeatedByUnpivot  = "unpivot"  // a row for each of several columns
)

// A Repeat is why columns are certainly not unique.
type Repeat struct {
	Kind    string
	Offset  int        // of the table or the clause in the query
	Input   string     // of the query, if the table is one
	Table   string     // its name in the query
	Joined  bool       // with a table that repeats
	Keys    [][]string // of the table
	Per     []string   // columns of the table that the columns determine
	Columns []string   // of GROUP BY or DISTINCT that the columns do not determine
	Add     []string   // columns of the result that would make the key complete, if there are any
}

// limit bounds the dependencies of a query. Beyond it, nothing is known about its keys.
const limit = 3000

// Unique reports whether no two rows of the table have the same values in these columns.
func (t *Table) Unique(columns []string) bool {
	attrs, ok := t.attrs(columns)
	return ok && t.grain.unique(attrs)
}

// Repeats returns why the columns are not unique, or nil if they may be.
func (t *Table) Repeats(columns []string) *Repeat {
	attrs, ok := t.attrs(columns)
	if !ok {
		return nil
	}
	r := t.grain.repeats(attrs)
	if r == nil {
		return nil
	}
	out := r.describe()
	for _, need := range r.missing {
		i := slices.IndexFunc(t.Columns, func(c Column) bool { return c.attr == need })
		if i < 0 {
			out.Add = nil
			break
		}
		out.Add = append(out.Add, t.Columns[i].Name)
	}
	return out
}

// UniqueColumns returns some sets of columns that are unique, none of which contains another.
func (t *Table) UniqueColumns() [][]string {
	if t.grain == nil {
		return nil
	}
	var attrs []int
	for _, c := range t.Columns {
		attrs = append(attrs, c.attr)
	}
	var all [][]string
	for _, key := range t.grain.keys(attrs) {
		var names []string
		for _, i := range key {
			names = append(names, t.Columns[i].Name)
		}
		all = append(all, names)
	}
	return all
}

func (t *Table) attrs(columns []string) (attrs []int, ok bool) {
	for _, name := range columns {
		c := t.Column(name)
		if c == nil || c.attr == 0 {
			return nil, false
		}
		attrs = append(attrs, c.attr)
	}
	return attrs, t.grain != nil
}

// A set is a set of attributes.
type set map[int]bool

func (s set) all(attrs []int) bool {
	return !slices.ContainsFunc(attrs, func(a int) bool { return !s[a] })
}

// closure returns what attributes determine, by the dependencies that use accepts.
func (g *grain) closure(attrs []int, use func(dependency) bool) set {
	s := set{}
	for _, a := range attrs {
		s[a] = true
	}
	for again := true; again; {
		again = false
		for _, d := range g.dependencies {
			if !s[d.to] && use(d) && s.all(d.from) {
				s[d.to], again = true, true
			}
		}
	}
	return s
}

func proven(d dependency) bool   { return !d.may }
func possible(dependency) bool   { return true }
func unpinned(d dependency) bool { return !d.pin }

func (g *grain) unique(attrs []int) bool {
	return g.closure(attrs, proven).all(g.rowAttrs())
}

func (g *grain) rowAttrs() []int {
	attrs := make([]int, len(g.rows))
	for i, r := range g.rows {
		attrs[i] = r.attr
	}
	return attrs
}

// keys returns up to eight minimal sets of columns that are unique, as indices.
func (g *grain) keys(columns []int) [][]int {
	pick := func(indices []int) (attrs []int) {
		for _, i := range indices {
			attrs = append(attrs, columns[i])
		}
		return attrs
	}
	least := func(indices []int) []int {
		for i := len(indices) - 1; i >= 0; i-- {
			if less := slices.Delete(slices.Clone(indices), i, i+1); g.unique(pick(less)) {
				indices = less
			}
		}
		return indices
	}
	var every []int
	for i, a := range columns {
		if a == 0 {
			continue
		}
		every = append(every, i)
	}
	if len(every) > 40 || !g.unique(pick(every)) {
		return nil
	}
	all := [][]int{least(every)}
	for i := 0; i < len(all) && len(all) < 8; i++ {
		for _, x := range all[i] { // another key, without x
			rest := slices.DeleteFunc(slices.Clone(every), func(y int) bool { return y == x })
			if !g.unique(pick(rest)) {
				continue
			}
			k := least(rest)
			if !slices.ContainsFunc(all, func(o []int) bool { return slices.Equal(o, k) }) {
				all = append(all, k)
			}
		}
	}
	return all
}

// A repeated is a row that repeats, with what a key determines.
type repeated struct {
	row
	known   set
	missing []int
	joined  bool
}

// repeats returns the row that certainly repeats per value of the attributes, or nil.
func (g *grain) repeats(attrs []int) *repeated {
	if g.selective {
		return nil
	}
	declared := attrs
	for _, r := range g.rows {
		if r.keyless {
			attrs = append(slices.Clip(attrs), r.attr)
		}
	}
	known := g.closure(attrs, unpinned)
	with := &grain{dependencies: slices.Clip(g.dependencies), rows: g.rows}
	for _, c := range g.conditions {
		if !known.all(c.attrs) {
			for _, r := range c.rows {
				with.dependencies = append(with.dependencies, dependency{to: r, may: true})
			}
		}
	}
	known = with.closure(attrs, possible)
	var blamed []row
	rows := slices.Clone(g.rows)
	owns := func(r row) bool {
		return slices.ContainsFunc(r.columns, func(c named) bool { return slices.Contains(declared, c.attr) })
	}
	slices.SortStableFunc(rows, func(a, b row) int { return order(owns(b), owns(a)) })
	given := func(but int) []int {
		all := slices.Clone(attrs)
		for i, b := range blamed {
			if i != but {
				all = append(all, b.attr)
			}
		}
		return all
	}
	for _, r := range rows {
		if !with.closure(given(-1), possible)[r.attr] {
			blamed = append(blamed, r)
		}
	}
	for i := 0; i < len(blamed) && len(blamed) > 1; {
		if with.closure(given(i), possible)[blamed[i].attr] {
			blamed = slices.Delete(blamed, i, i+1)
			continue
		}
		i++
	}
	if len(blamed) == 0 {
		return nil
	}
	r := &repeated{row: blamed[0], known: known}
	r.joined = slices.ContainsFunc(g.rows, func(o row) bool { return known[o.attr] })
	if r.kind == RepeatedByUnion {
		for _, p := range r.parts {
			var own []int
			for i, c := range r.columns {
				if known[c.attr] {
					own = append(own, p.columns[i])
				}
			}
			if in := p.grain.repeats(own); in != nil {
				return in
			}
		}
	}
	key := r.nearest()
	for _, c := range r.columns {
		if !known[c.attr] && (key == nil || slices.Contains(key, c.name)) {
			r.missing = append(r.missing, c.attr)
		}
	}
	return r
}

// nearest returns the key of the row's table of which most is known.
func (r *repeated) nearest() []string {
	unknown := func(key []string) int {
		n := 0
		for _, c := range r.columns {
			if slices.Contains(key, c.name) && !r.known[c.attr] {
				n++
			}
		}
		return n
	}
	if len(r.keys) == 0 {
		return nil
	}
	return slices.MinFunc(r.keys, func(a, b []string) int { return unknown(a) - unknown(b) })
}

func (r *repeated) describe() *Repeat {
	out := &Repeat{Kind: r.kind, Offset: r.offset, Input: r.input, Table: r.table, Joined: r.joined, Keys: r.keys}
	for _, c := range r.columns {
		if r.known[c.attr] {
			out.Per = append(out.Per, c.name)
		} else {
			out.Columns = append(out.Columns, c.name)
		}
	}
	// The columns of keys come first, and say enough.
	inKey := func(name string) bool {
		return slices.ContainsFunc(r.keys, func(k []string) bool { return slices.Contains(k, name) })
	}
	slices.SortStableFunc(out.Per, func(a, b string) int { return order(inKey(b), inKey(a)) })
	if n := len(out.Per); n > 0 && inKey(out.Per[0]) {
		out.Per = slices.DeleteFunc(out.Per, func(name string) bool { return !inKey(name) })
	}
	out.Per = out.Per[:min(3, len(out.Per))]
	return out
}

// renumber returns the grain with new attributes, and what became of the old ones.
func (a *analysis) renumber(g *grain) (*grain, func(int) int) {
	as := map[int]int{0: 0}
	to := func(x int) int {
		if _, ok := as[x]; !ok {
			as[x] = a.attr()
		}
		return as[x]
	}
	list := func(xs []int) []int {
		out := make([]int, len(xs))
		for i, x := range xs {
			out[i] = to(x)
		}
		return out
	}
	n := &grain{}
	for _, d := range g.dependencies {
		n.dependencies = append(n.dependencies, dependency{list(d.from), to(d.to), d.may, d.pin})
	}
	for _, c := range g.conditions {
		n.conditions = append(n.conditions, condition{list(c.attrs), list(c.rows), to(c.period)})
	}
	for _, r := range g.rows {
		r.attr = to(r.attr)
		r.columns = slices.Clone(r.columns)
		for i := range r.columns {
			r.columns[i].attr = to(r.columns[i].attr)
		}
		n.rows = append(n.rows, r) // the parts of a union have attributes of their own
	}
	for x := range g.numbers {
		mark(&n.numbers, to(x))
	}
	for x, by := range g.orders {
		n.ordersBy(to(x), to(by))
	}
	for x := range g.across {
		mark(&n.across, to(x))
	}
	n.selective = g.selective
	return n, to
}

func (a *analysis) attr() int { a.attrs++; return a.attrs }

// depends adds a proven dependency.
func (g *grain) depends(from []int, to ...int) {
	for _, t := range to {
		g.dependencies = append(g.dependencies, dependency{from: from, to: t})
	}
}

// may adds a possible dependency.
func (g *grain) may(from []int, to ...int) {
	for _, t := range to {
		g.dependencies = append(g.dependencies, dependency{from: from, to: t, may: true})
	}
}

// ordersBy notes by which column a column orders the rows that it numbers.
func (g *grain) ordersBy(number, by int) {
	if g.orders == nil {
		g.orders = map[int]int{}
	}
	g.orders[number] = by
}

// unclear notes that any of the rows may be unique.
func (g *grain) unclear() { g.may(nil, g.rowAttrs()...) }

// add adds the rows of another table: those of a cross join.
func (g *grain) add(o *grain) {
	g.dependencies = append(g.dependencies, o.dependencies...)
	g.conditions = append(g.conditions, o.conditions...)
	g.rows = append(g.rows, o.rows...)
	for x := range o.numbers {
		mark(&g.numbers, x)
	}
	for x, by := range o.orders {
		g.ordersBy(x, by)
	}
	for x := range o.across {
		mark(&g.across, x)
	}
	g.selective = g.selective || o.selective
}

// unknown returns the grain of a table of which nothing is known.
func (a *analysis) unknown() *grain {
	g := &grain{rows: []row{{attr: a.attr(), kind: RepeatedByTable, offset: -1}}}
	g.unclear()
	return g
}

// input gives a table that the query reads its grain: that of the query that makes it, with
// its declared keys. Without a key, it may have a single row.
func (a *analysis) input(t *Table, name string) {
	r := row{attr: a.attr(), kind: RepeatedByTable, input: name, table: name, offset: -1, keys: slices.Clone(t.Keys)}
	g := &grain{}
	if t.grain != nil {
		if len(r.keys) == 0 {
			r.keys = t.UniqueColumns()
		}
		made, to := a.renumber(t.grain)
		for i := range t.Columns {
			t.Columns[i].attr = to(t.Columns[i].attr)
		}
		*g = *made
		g.depends(made.rowAttrs(), r.attr)
		g.depends([]int{r.attr}, made.rowAttrs()...)
		r.keyless = slices.ContainsFunc(made.rows, func(r row) bool { return r.keyless })
	} else {
		r.keyless = len(t.Keys) == 0
	}
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.attr == 0 {
			c.attr, c.direct = a.attr(), t.grain == nil
		}
		r.columns = append(r.columns, named{c.Name, c.attr})
		g.depends([]int{r.attr}, c.attr)
		if c.Domain.single() {
			g.may(nil, c.attr) // unless it is null
		}
	}
	for _, key := range t.Keys {
		var attrs []int
		for _, k := range key {
			if c := t.Column(k); c != nil {
				attrs = append(attrs, c.attr)
			}
		}
		if len(attrs) == len(key) && len(key) > 0 {
			g.depends(attrs, r.attr)
		}
	}
	g.rows = []row{r}
	t.grain = g
}

// single reports whether a column has at most one value.
func (d Domain) single() bool { return len(d.Values) == 1 || d.Min != "" && d.Min == d.Max }
