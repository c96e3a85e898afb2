package compiler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// checkRequests makes the contracts of deployments that compute features for a request, and
// refuses those that cannot.
func (c *checker) checkRequests(ctx context.Context, f *factory) error {
	reported := map[string]bool{} // queries that no deployment can compute
	for _, id := range c.order {
		e := c.entities[id]
		s := e.component.Serves
		if s == nil || c.broken[id] || slices.ContainsFunc(e.ports, func(p port) bool { return p.out == nil || c.broken[p.from] }) {
			continue
		}
		r := &request{checker: c, facts: f, reported: reported, e: e, serves: s, features: e.input(s.Table), model: e.input(s.Model)}
		if !r.declared() || !r.trained() {
			continue
		}
		if ok, err := r.chain(ctx); err != nil {
			return err
		} else if ok {
			r.serve()
		}
	}
	return nil
}

// A request is the work on the contract of one deployment.
type request struct {
	*checker
	facts           *factory
	reported        map[string]bool
	e               *entity
	serves          *serves
	model, features *port

	name  string // of the input of which a caller sends a row
	links []link // from the row of the request to that of the model
}

// A link is one query that is computed for a request.
type link struct {
	e    *entity
	in   *port // the leftmost table of its query
	plan *rowsql.Plan
	uses []rowsql.Use // of its outputs

	// withDuckDB makes the plan that leaves to DuckDB what closures do not compute.
	withDuckDB func() (*rowsql.Plan, error)
}

func (l link) query() string { return l.e.string(l.e.component.SQL) }

// label returns the place of a field of the deployment.
func (r *request) label(text, field string, more ...string) diag.Span {
	return r.sys.Label(text, r.e.path(append(strings.Split(field, "."), more...)...)...)
}

func (r *request) refuse(message, hint string, spans ...diag.Span) bool {
	r.fail(r.e, diag.Diagnostic{Message: message, Spans: spans, Hint: hint})
	return false
}

// declared reports whether the deployment has a request, and refuses fields that belong
// together and are not all there.
func (r *request) declared() bool {
	s, e := r.serves, r.e
	rows, _ := e.fields.at(s.Request).(object)
	switch {
	case !e.fields.has(s.Request):
		for _, field := range []string{s.Lookup, s.Returns, s.History, s.Events} {
			if field != "" && e.fields.has(field) {
				return r.refuse(fmt.Sprintf("%s has %s, but no %s", e, field, s.Request),
					fmt.Sprintf("write %s: NAME: {}, with the input of the query of the features of which a caller sends a row, or remove %s", s.Request, field), r.label("", field))
			}
		}
		if r.features != nil {
			return r.refuse(fmt.Sprintf("%s reads %s, but has no %s that it is computed from", e, r.features.out.entity, s.Request),
				fmt.Sprintf("write %s: NAME: {}, with the input of its query of which a caller sends a row, or remove in.%s", s.Request, s.Table),
				r.label("", "in", s.Table))
		}
		return false
	case len(rows) == 0:
		return r.refuse(fmt.Sprintf("%s of %s names no row", s.Request, e), fmt.Sprintf("write %s: NAME: {}, with an input of the query of the features", s.Request), r.label("", s.Request))
	case len(rows) > 1:
		return r.refuse(fmt.Sprintf("%s of %s names several rows: %s", s.Request, e, strings.Join(rows.names(), ", ")), "a caller sends a row of one table; list the others in "+s.Lookup,
			r.label("", s.Request, rows[0].name), r.label("", s.Request, rows[1].name))
	case r.features == nil:
		hint := fmt.Sprintf("add in: %s: the table that the model was trained on", s.Table)
		if table := r.trainedOn(); table != nil {
			hint = fmt.Sprintf("add in: %s: %s.out", s.Table, table.entity)
		}
		return r.refuse(fmt.Sprintf("%s has a %s, but not the features that are computed from it", e, s.Request), hint, r.label("", s.Request), r.label("its inputs", "in"))
	}
	r.name = rows[0].name
	return true
}

// trainedOn returns the table that the model was trained on, or nil.
func (r *request) trainedOn() *out {
	if r.model == nil || r.model.out == nil {
		return nil
	}
	if in := r.model.out.entity.input("table"); in != nil {
		return in.out
	}
	return nil
}

// trained reports whether the features are the table that the model was trained on.
func (r *request) trained() bool {
	if r.model == nil || r.model.out.signature == nil {
		return false
	}
	model, given := r.model.out.entity, r.features.out
	at := []diag.Span{r.sys.At("given here", r.e.path("in", r.serves.Table)...)}
	hint := ""
	table := r.trainedOn()
	if table != nil {
		at = append(at, r.sys.At("trained on "+table.entity.String(), model.path("in", "table")...))
		hint = fmt.Sprintf("write %s: %s.out", r.serves.Table, table.entity)
	}
	for _, want := range r.model.out.signature.Input {
		got := given.schema.Column(want.Name)
		if got != nil && got.Type == want.Type {
			continue
		}
		d := diag.Diagnostic{Spans: at, Hint: hint, Wanted: want.Name + ": " + want.Type}
		if got == nil {
			d.Message = fmt.Sprintf("%s reads %s, which %s does not compute", model, want.Name, given.entity)
			d.Found = "the columns " + strings.Join(columnNames(given.schema), ", ")
		} else {
			d.Message = fmt.Sprintf("%s reads %s as another type than %s computes", model, want.Name, given.entity)
			d.Found = want.Name + ": " + got.Type
			d.Spans = append(at, r.columnSpan(given.entity, want.Name))
		}
		r.fail(r.e, d)
		return false
	}
	if table != nil && table != given {
		return r.refuse(fmt.Sprintf("%s was not trained on %s", model, given.entity), hint, at...)
	}
	return true
}

// chain compiles the queries from the row of the request to the features.
func (r *request) chain(ctx context.Context) (bool, error) {
	e := r.features.out.entity
	for {
		if e.rows != nil {
			l := r.linkByRow(e)
			if l.in.name != r.name && !r.reaches(l.in.out.entity) {
				return r.noInput(l), nil
			}
			r.links = slices.Insert(r.links, 0, l)
			if l.in.name == r.name {
				return r.windowsAfter(), nil
			}
			e = l.in.out.entity
			continue
		}
		if e.component.SQL == "" {
			return r.notSQL(e), nil
		}
		if e.bound == nil || e.typing == nil || e.typing.err != nil {
			return false, nil // reported by checkSQL
		}
		<-e.bound.done
		if e.bound.err != nil {
			return false, fmt.Errorf("bind the SQL of %s: %w", e, e.bound.err)
		}
		var refusal *rowsql.Refusal
		left, err := rowsql.Leftmost(e.bound.plan)
		if errors.As(err, &refusal) {
			return r.cannot(link{e: e}, refusal), nil
		} else if err != nil {
			return false, fmt.Errorf("compile the SQL of %s for a request: %w", e, err)
		}
		i := slices.IndexFunc(e.ports, func(p port) bool { return strings.EqualFold(p.name, left) })
		if i < 0 {
			return r.cannot(link{e: e}, &rowsql.Refusal{Reason: "its query begins with none of its inputs", Offset: -1}), nil
		}
		l := link{e: e, in: &e.ports[i]}
		switch {
		case l.in.name != r.name && e.input(r.name) != nil:
			return r.notLeftmost(l), nil
		case l.in.name != r.name && !r.reaches(l.in.out.entity):
			return r.noInput(l), nil
		}
		tables := []rowsql.Table{tableOf(*l.in)}
		for _, p := range e.ports {
			if p.name != l.in.name {
				tables = append(tables, tableOf(p))
			}
		}
		l.withDuckDB = func() (*rowsql.Plan, error) {
			return rowsql.CompileWithDuckDB(l.query(), e.bound.plan, tables, func(columns ir.Schema, query string) ([]byte, error) {
				return r.options.Bind(ctx, map[string]ir.Schema{"t": columns}, query)
			})
		}
		if l.plan, err = r.compile(l, tables); errors.As(err, &refusal) {
			return r.cannot(l, refusal), nil
		} else if err != nil {
			return false, fmt.Errorf("compile the SQL of %s for a request: %w", e, err)
		}
		r.links = slices.Insert(r.links, 0, l)
		if l.in.name == r.name {
			return r.windowsAfter(), nil
		}
		e = l.in.out.entity
	}
}

// compile makes the plan of a query. What closures do not compute is left to DuckDB if the
// deployment has that engine.
func (r *request) compile(l link, tables []rowsql.Table) (*rowsql.Plan, error) {
	if r.e.string(r.serves.Engine) != "duckdb" {
		return rowsql.Compile(l.query(), l.e.bound.plan, tables)
	}
	return l.withDuckDB()
}

func tableOf(p port) rowsql.Table {
	t := rowsql.Table{Name: p.name, Schema: p.out.schema}
	if len(p.out.keys) > 0 {
		t.Keys = [][]string{p.out.keys}
	}
	return t
}

// reaches reports whether the row of the request may be found behind a table: an input of
// that name, or something that no query computes and that is refused for that reason.
func (r *request) reaches(e *entity) bool {
	if e.component.SQL == "" && e.rows == nil {
		return e.section == "features"
	}
	return e.input(r.name) != nil || slices.ContainsFunc(e.ports, func(p port) bool { return r.reaches(p.out.entity) })
}

func (r *request) at() diag.Span { return r.label("a caller sends this row", r.serves.Request, r.name) }

func (r *request) notSQL(e *entity) bool {
	if e.section != "features" {
		return r.refuse(fmt.Sprintf("%s of %s has nothing to compute: no query makes %s", r.serves.Request, r.e, e),
			fmt.Sprintf("leave out %s and in.%s: callers then send the columns that the model reads", r.serves.Request, r.serves.Table), r.at(), r.label("the features", "in", r.serves.Table))
	}
	if k := e.calls(); k != nil && k.Rows != "" {
		return !e.byRow() && r.byTable(e) // a function of rows that is not known has a fault
	}
	return r.refuse(fmt.Sprintf("%s cannot be computed for one request: it is no query in SQL", e),
		fmt.Sprintf("write it as feature.#SQL, or let callers send its row as the %s of a query that reads it", r.serves.Request), r.sys.Label("", e.path()...), r.at())
}

func (r *request) notLeftmost(l link) bool {
	return r.refuse(fmt.Sprintf("a %s of %s cannot be a row of %q: the query of %s begins with %q", r.serves.Request, r.e, r.name, l.e, l.in.name),
		fmt.Sprintf("write %s: %s: {}, and list %s in %s; or begin the query with it: FROM %[3]s LEFT JOIN %[5]s", r.serves.Request, label(l.in.name), r.name, r.serves.Lookup, l.in.name),
		r.at(), r.sqlSpan(l.e, l.query(), -1))
}

func (r *request) noInput(l link) bool {
	var names []string
	for _, p := range l.e.ports {
		names = append(names, p.name)
	}
	what := "the query"
	if l.e.rows != nil {
		what = "the function"
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s of %s names %q, which is no input of %s of %s", r.serves.Request, r.e, r.name, what, l.e),
		Spans:   []diag.Span{r.label("", r.serves.Request, r.name), r.sys.Label("its inputs", l.e.path("in")...)},
		Wanted:  fmt.Sprintf("%s, of which %s makes each row", l.in.name, what),
	}
	d.Hint = cmp.Or(nearest(r.name, names), fmt.Sprintf("write %s: %s: {}, the name that %s has in %s", r.serves.Request, label(l.in.name), l.in.out.entity, what))
	r.fail(r.e, d)
	return false
}

// serve makes the contract of the chain, or reports why there is none.
func (r *request) serve() {
	k := &contract{row: *r.links[0].in}
	excluded, okExcluded := r.excluded(k.row.out)
	tables, okTables := r.tables()
	returns, okReturns := r.returned()
	if !okExcluded || !okTables || !okReturns {
		return
	}
	// Forward: what follows from the columns that a caller does not have.
	filtered := false // training leaves out rows that a caller may send
	for i, missing := 0, excluded; i < len(r.links); i++ {
		l := &r.links[i]
		if filtered && l.plan.Windows() > 0 && !r.knownRows(*l) {
			return
		}
		analysis := l.plan.Analyse(missing)
		l.uses = analysis.Outputs
		filtered = filtered || slices.ContainsFunc(analysis.Filters, func(u rowsql.Use) bool { return u.Training })
		k.drops = filtered
		missing = nil
		for _, u := range l.uses {
			if u.Training {
				missing = append(missing, u.Name)
			}
		}
	}
	if ok, err := r.available(returns, excluded); err != nil {
		r.internal(err)
		return
	} else if !ok {
		return
	}
	// Backward: what the model and the answer need.
	needed := slices.Clone(returns)
	for _, in := range r.model.out.signature.Input {
		if !slices.Contains(needed, in.Name) {
			needed = append(needed, in.Name)
		}
	}
	k.plans, k.results = make([]*rowsql.Plan, len(r.links)), make([]ir.Schema, len(r.links))
	for i, l := range slices.Backward(r.links) {
		missing := r.missing(i, excluded)
		// A key that is not computed may tell several rows of one request apart.
		counted := slices.Concat(needed, l.e.outs["out"].keys)
		if refusals := l.plan.Refusals(missing, counted); len(refusals) > 0 {
			r.cannotCompute(l, refusals, missing, counted)
			return
		}
		plan, err := l.plan.Needed(missing, needed)
		if err != nil {
			r.internal(fmt.Errorf("%s: %w", r.e, err))
			return
		}
		needed = k.set(i, l, plan)
	}
	if len(needed) == 0 || !r.reads() {
		r.refuse(fmt.Sprintf("%s reads nothing that is computed from a row of %q", r.model.out.entity, r.name),
			fmt.Sprintf("leave out %s, or serve a model that reads the row", r.serves.Request), r.at(), r.sys.At("the model", r.e.path("in", r.serves.Model)...))
		return
	}
	if !r.remembers(k) {
		return
	}
	for _, name := range k.history.keysOf(excluded) {
		if !slices.Contains(needed, name) {
			needed = append(needed, name)
		}
	}
	if k.queries = r.trainingQueries(); !r.checkable(k) {
		return
	}
	k.takes(needed)
	k.history.takes(k)
	k.returns, k.keys, k.calls = returns, r.keys(k, excluded), r.called(k)
	if k.lookups = r.lookedUp(tables, k.plans); k.lookups == nil && slices.ContainsFunc(k.plans, func(p *rowsql.Plan) bool { return len(p.Lookups) > 0 }) {
		return
	}
	if !r.answers(k) {
		return
	}
	for _, x := range []*contract{k, k.keys} {
		if x != nil {
			for _, p := range x.plans {
				p.Unplaced()
			}
		}
	}
	r.e.contract = k
}

// reads reports whether an input of the model is computed from the row of the request.
func (r *request) reads() bool {
	var before []string // columns of the table before that are computed from it
	for i, l := range r.links {
		var now []string
		for _, u := range l.uses {
			if slices.ContainsFunc(u.Columns, func(c string) bool { return i == 0 || slices.Contains(before, c) }) {
				now = append(now, u.Name)
			}
		}
		before = now
	}
	return slices.ContainsFunc(r.model.out.signature.Input, func(c ir.Column) bool { return slices.Contains(before, c.Name) })
}

// excluded returns the columns of the request that a caller does not have.
func (r *request) excluded(row *out) (columns []string, ok bool) {
	ok = true
	rows, _ := r.e.fields.at(r.serves.Request).(object)
	settings, _ := rows[0].value.(object)
	for _, column := range stringsOf(settings.get("exclude")) {
		if row.schema.Column(column) == nil {
			r.noColumn(r.e, "exclude", column, row, row.schema, append(strings.Split(r.serves.Request, "."), r.name, "exclude")...)
			ok = false
		}
		columns = append(columns, column)
	}
	return columns, ok
}

// tables returns the tables that the queries join, and refuses names in lookup that are
// none of them.
func (r *request) tables() (tables map[string]port, ok bool) {
	tables, ok = map[string]port{}, true
	from := map[string]*entity{}
	for _, l := range r.links {
		for _, look := range l.plan.Lookups {
			p := l.e.input(look.Input.Name)
			if other, twice := tables[p.name]; twice && other.out != p.out {
				return nil, r.refuse(fmt.Sprintf("%s and %s join different tables by the name %q", from[p.name], l.e, p.name), "give one of them another name, so that "+r.serves.Lookup+" can tell them apart",
					r.sys.Label("", from[p.name].path("in", p.name)...), r.sys.Label("", l.e.path("in", p.name)...), r.at())
			}
			tables[p.name], from[p.name] = *p, l.e
		}
	}
	joined := make([]string, 0, len(tables))
	for name := range tables {
		joined = append(joined, name)
	}
	slices.Sort(joined)
	declared, _ := r.e.fields.at(r.serves.Lookup).(object)
	for _, f := range declared {
		if _, found := tables[f.name]; !found && !r.joins(f.name) {
			last := r.links[len(r.links)-1]
			d := diag.Diagnostic{
				Message: fmt.Sprintf("%s of %s lists %q, which the query of %s does not join", r.serves.Lookup, r.e, f.name, last.e),
				Spans:   []diag.Span{r.label("", r.serves.Lookup, f.name), r.querySpan(last, -1)},
				Found:   f.name,
				Hint:    cmp.Or(nearest(f.name, joined), "remove it"),
			}
			if len(joined) > 0 {
				d.Wanted = "one of " + strings.Join(joined, ", ")
			}
			r.fail(r.e, d)
			ok = false
		}
		settings, _ := f.value.(object)
		ok = r.limited(f.name, stringOf(settings.get("max_age"))) && ok
	}
	return tables, ok
}

// joins reports whether a query reads a table besides the one that it goes through.
func (r *request) joins(name string) bool {
	return slices.ContainsFunc(r.links, func(l link) bool { return l.in.name != name && l.e.input(name) != nil })
}

// limited checks the largest age of rows of a table. Only what a join chooses by its time has
// one.
func (r *request) limited(name, age string) bool {
	if age == "" {
		return true
	}
	at := r.sys.At("", r.e.path(append(strings.Split(r.serves.Lookup, "."), name, "max_age")...)...)
	switch d := duration.Parse(age); {
	case d >= duration.Century:
		r.tooLarge(r.e, at.Pos, "less than a hundred years")
		return false
	case d <= 0:
		return r.refuse(fmt.Sprintf("max_age of %q in %s is no length of time", name, r.e), "write the age of the oldest row to take, such as 2h, or leave it out", at)
	}
	for _, l := range r.links {
		for i, look := range l.plan.Lookups {
			if look.Input.Name == name && !l.plan.Latest(i) {
				return r.refuse(fmt.Sprintf("%s limits the age of rows of %q, which %s does not join by time", r.e, name, l.e),
					"leave out max_age: only the latest row before a time, as ASOF JOIN takes it, has an age", at, r.sqlSpan(l.e, l.query(), joinOf(name, l.query())))
			}
		}
	}
	return true
}

// lookedUp returns the tables that plans need, and refuses those that the deployment does not
// list.
func (r *request) lookedUp(tables map[string]port, plans []*rowsql.Plan) []lookup {
	declared, _ := r.e.fields.at(r.serves.Lookup).(object)
	var all []lookup
	ok := true
	for i, p := range plans {
		for _, l := range p.Lookups {
			name := l.Input.Name
			if slices.ContainsFunc(all, func(x lookup) bool { return x.name == name }) {
				continue
			}
			if !declared.has(name) {
				e := r.links[i].e
				ok = r.refuse(fmt.Sprintf("%s needs rows of %q, which %s of %s does not list", e, name, r.serves.Lookup, r.e),
					fmt.Sprintf("add %s: %s: {}", r.serves.Lookup, label(name)), r.sys.Label("joined by the query", e.path("in", name)...), r.at())
			}
			settings, _ := declared.get(name).(object)
			store, _ := settings.get("store").(object)
			ok = r.canBeOutside(i, l, store) && ok
			all = append(all, lookup{tables[name], stringOf(settings.get("max_age")), store})
		}
	}
	if !ok {
		return nil
	}
	slices.SortFunc(all, func(a, b lookup) int { return strings.Compare(a.name, b.name) })
	return all
}
