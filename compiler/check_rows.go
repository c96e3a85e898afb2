package compiler

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/pysource"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A rowFunction is a function of the user's that computes a row of a table from a row of
// another one. The columns that the other table has are copied.
type rowFunction struct {
	in    *port
	takes []string  // columns of in, in its order
	makes ir.Schema // the other columns of the table
	at    diag.Span // of the function, if it is known
}

// plan returns the function as what computes a row for a request.
func (f *rowFunction) plan(result ir.Schema) *rowsql.Plan {
	return rowsql.Python(tableOf(*f.in), f.takes, result)
}

// calls returns how the program of an entity calls a function of the user's, or nil.
func (e *entity) calls() *call {
	if e.component == nil || len(e.component.stages) != 1 {
		return nil
	}
	return e.component.stages[0].Calls
}

// byRow reports whether the function of an entity is declared to compute single rows.
func (e *entity) byRow() bool {
	k := e.calls()
	return k != nil && k.Rows != "" && e.fields.at(k.Rows) == true
}

// checkRowFunctions checks functions that compute single rows, and finds out which columns they
// take. Faults of the script itself are reported when its unit is made.
func (c *checker) checkRowFunctions() {
	for _, id := range c.order {
		e := c.entities[id]
		o := e.outs["out"]
		if c.broken[id] || !e.byRow() || o == nil || slices.ContainsFunc(e.ports, func(p port) bool { return p.out == nil || c.broken[p.from] }) {
			continue
		}
		k := e.calls()
		at := c.sys.At("", e.path(k.Rows)...)
		if len(e.ports) != 1 || e.ports[0].out.kind != ir.Table {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s computes its rows one by one, but has %d inputs", e, len(e.ports)),
				Wanted:  "one table, of whose rows it makes one each",
				Spans:   []diag.Span{at, c.sys.Label("its inputs", e.path("in")...)},
				Hint:    "join the tables in a feature.#SQL, and read that",
			})
			continue
		}
		f := &rowFunction{in: &e.ports[0]}
		if !c.copies(e, f, o, at) {
			continue
		}
		if takes, ok := c.taken(e, f, k); ok {
			f.takes, e.rows = takes, f
		}
	}
}

// copies divides the columns of a table into those that are copied and those that the function
// computes.
func (c *checker) copies(e *entity, f *rowFunction, o *out, at diag.Span) bool {
	in := f.in.out
	for _, col := range o.schema {
		from := in.schema.Column(col.Name)
		switch {
		case from == nil:
			f.makes = append(f.makes, col)
		case from.Type != col.Type:
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s copies %s of %s, but declares it as another type", e, col.Name, in.entity),
				Wanted:  col.Name + ": " + from.Type, Found: col.Name + ": " + col.Type,
				Spans: []diag.Span{c.columnSpan(e, col.Name), c.columnSpan(in.entity, col.Name)},
				Hint:  "a function that computes rows one by one returns only columns that its input lacks: give what it computes another name",
			})
			return false
		}
	}
	if len(f.makes) == 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the function of %s has no column to compute: %s has all of them", e, in.entity),
			Spans:   []diag.Span{at, c.sys.Label("its columns", e.path("schema")...)},
			Hint:    "declare the columns that it returns, under names that its input lacks",
		})
		return false
	}
	return true
}

// taken returns the columns that a function takes: those of which it has a parameter. They are
// all columns if it takes any argument, or if the script does not say what it takes.
func (c *checker) taken(e *entity, f *rowFunction, k *call) ([]string, bool) {
	all := columnNames(f.in.out.schema)
	file, name := path.Clean(stringOf(e.fields.at(k.Script))), stringOf(e.fields.at(k.Function))
	module, source, ok := c.parsed(file)
	if _, there := module.Names[name]; !ok || !there && !module.Open {
		return nil, false // reported when the unit is made
	}
	function, known := module.Functions[name]
	if !known {
		return all, true
	}
	var args []string
	for _, field := range k.Keywords {
		given, _ := e.fields.at(field).(object)
		if field != "in" {
			args = append(args, given.names()...)
		}
	}
	place := c.scriptSpan(file, source, function.Pos, len(name))
	f.at = place
	var takes, names []string
	for _, p := range function.Params {
		switch {
		case p.Kind == pysource.Rest:
		case p.Kind == pysource.RestByName:
			takes = all
		case slices.Contains(args, p.Name) && slices.Contains(all, p.Name):
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s() of %s takes %s, which is both a column of %s and an argument", name, e, p.Name, f.in.out.entity),
				Spans:   []diag.Span{place, c.sys.Label("the argument", e.path("args", p.Name)...), c.columnSpan(f.in.out.entity, p.Name)},
				Hint:    "give the argument another name",
			})
			return nil, false
		case p.Kind == pysource.Positional && !p.Optional:
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s() of %s takes %s by position, and columns are passed by name", name, e, p.Name),
				Spans:   []diag.Span{place, c.sys.At("", e.path(k.Rows)...)}, Hint: "leave out the / in its parameters",
			})
			return nil, false
		case slices.Contains(all, p.Name):
			names = append(names, p.Name)
		case !p.Optional && !slices.Contains(args, p.Name):
			d := diag.Diagnostic{
				Message: fmt.Sprintf("%s() of %s takes %s, which is no column of %s", name, e, p.Name, f.in.out.entity),
				Spans:   []diag.Span{place, c.sys.Label("the columns", f.in.out.entity.path("schema")...), c.sys.At("it gets the columns of one row by name", e.path(k.Rows)...)},
				Hint:    nearest(p.Name, all),
			}
			if p.Name == f.in.name {
				d.Hint = fmt.Sprintf("name the parameters after columns; if %s() takes a whole table, leave out %s", name, k.Rows)
			} else if d.Hint == "" {
				d.Hint = "pass it in args, or give it a default"
			}
			c.fail(e, d)
			return nil, false
		}
	}
	if takes == nil {
		takes = slices.DeleteFunc(all, func(column string) bool { return !slices.Contains(names, column) })
	}
	if len(takes) == 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s() of %s takes no column of %s", name, e, f.in.out.entity),
			Spans:   []diag.Span{place, c.sys.At("it gets the columns of one row by name", e.path(k.Rows)...)},
			Hint:    "name its parameters after the columns that it needs",
		})
		return nil, false
	}
	return takes, true
}

// parsed reads a script of the user's.
func (c *checker) parsed(file string) (pysource.Module, []byte, bool) {
	if !filepath.IsLocal(filepath.FromSlash(file)) {
		return pysource.Module{}, nil, false
	}
	full := filepath.Join(c.sys.Dir, filepath.FromSlash(file))
	if real, err := filepath.EvalSymlinks(full); err != nil || !c.within(real) {
		return pysource.Module{}, nil, false
	}
	source, err := os.ReadFile(full)
	if err != nil {
		return pysource.Module{}, nil, false
	}
	c.options.Tracker.File(full, source)
	m, err := pysource.Parse(source)
	return m, source, err == nil && m.Invalid == nil
}

// rowTable returns the facts of a table that a function computes row by row: those of what it
// copies, and columns of unknown origin. What it returns need not depend on all that it takes,
// so that only checks of what must not be known ask for these origins, see [factory.following].
func (f *factory) rowTable(o *out) (facts.Table, error) {
	rows := o.entity.rows
	in, err := f.table(rows.in.out)
	if err != nil {
		return in, err
	}
	t := f.root(o)
	t.Rows, t.RowsPartial, t.Filtered = in.Rows, in.RowsPartial, in.Filtered
	for i := range t.Columns {
		c := &t.Columns[i]
		if from := in.Column(c.Name); from != nil {
			c.Origins, c.Partial, c.Of = slices.Clone(from.Origins), from.Partial, facts.Ref{Input: rows.in.name, Column: c.Name}
			continue
		}
		if !f.follows {
			continue
		}
		c.Origins = nil
		for _, name := range rows.takes {
			if from := in.Column(name); from != nil {
				c.Origins, c.Partial = append(c.Origins, facts.Through(from.Origins, facts.Computed)...), c.Partial || from.Partial
			}
		}
	}
	return t, nil
}

// following returns a factory for which the columns that functions compute row by row come from
// all columns that they take.
func (f *factory) following() *factory {
	if f.follows {
		return f
	}
	if f.followed == nil {
		f.followed = newFactory(f.program)
		f.followed.follows, f.followed.given = true, f.given
	}
	return f.followed
}

// computedByRow tells which columns a function computes from private columns, or copies.
func (e *entity) computedByRow(private map[string]bool) func(column string) bool {
	some := slices.ContainsFunc(e.rows.takes, func(name string) bool { return private[name] })
	return func(column string) bool {
		if e.rows.makes.Column(column) != nil {
			return some
		}
		return private[column]
	}
}

// linkByRow returns the step of a chain that a function in Python computes.
func (r *request) linkByRow(e *entity) link {
	plan := e.rows.plan(e.outs["out"].schema)
	return link{e: e, in: e.rows.in, plan: plan, withDuckDB: func() (*rowsql.Plan, error) { return plan, nil }}
}

// byTable refuses a function of a whole table.
func (r *request) byTable(e *entity) bool {
	k := e.calls()
	return r.refuse(fmt.Sprintf("%s cannot be computed for one request: its function takes whole tables", e),
		fmt.Sprintf("declare %s: true, and let the function take the columns of one row by name and return the new ones; or write it as feature.#SQL", k.Rows),
		r.sys.Label("", e.path()...), r.at())
}

// windowsAfter refuses windows over what a function in Python computes: an event would have to
// ask it before it counts.
func (r *request) windowsAfter() bool {
	for i, l := range r.links {
		if l.e.rows == nil {
			continue
		}
		for _, later := range r.links[i+1:] {
			if later.plan.Windows() > 0 {
				return r.refuse(fmt.Sprintf("%s cannot be computed for one request: its windows go over rows of %s, which a function in Python computes", later.e, l.e),
					fmt.Sprintf("compute the windows before, in a query that %s reads", l.e), r.windowSpan(later), r.sys.Label("", l.e.path()...), r.at())
			}
		}
	}
	return true
}

// querySpan is the place of a query, or of the function of a link.
func (r *request) querySpan(l link, at int) diag.Span {
	if k := l.e.calls(); l.e.rows != nil {
		return r.sys.Label("its function", l.e.path(strings.Split(k.Script, ".")...)...)
	}
	return r.sqlSpan(l.e, l.query(), at)
}
