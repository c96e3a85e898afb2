package rowsql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Table is an input of a query, with the sets of columns that are declared unique.
type Table struct {
	Name   string
	Schema ir.Schema
	Keys   [][]string
}

// A Refusal is a part of a query that cannot be computed row by row.
type Refusal struct {
	Reason string
	Offset int // the byte in the query, or -1
	// Lookup is the table of which no key is compared, if that is the reason.
	Lookup string
	// Outputs are the columns of the query that need it, and Condition says that a condition
	// does, see [Plan.Refusals].
	Outputs   []string
	Condition bool

	function string // that is refused
}

func (r *Refusal) Error() string { return r.Reason }

func refuse(at int, format string, args ...any) error {
	return &Refusal{Reason: fmt.Sprintf(format, args...), Offset: at}
}

// Compile makes a plan of a query. bound is what engine.Checker.Bind returns for it. The
// first table is the request: the leftmost one of the query. What has no row for each of the
// request is a [*Refusal]; columns and conditions that cannot be computed are part of the plan,
// see [Plan.Refusals].
func Compile(query string, bound []byte, tables []Table) (*Plan, error) {
	return placed(query)(compile(bound, tables, nil))
}

// placed removes places of refusals that are not in the query.
func placed(query string) func(*Plan, error) (*Plan, error) {
	return func(p *Plan, err error) (*Plan, error) {
		var r *Refusal
		if errors.As(err, &r) && !r.within(query) {
			r.Offset = -1
		}
		if err == nil {
			p.exprs(func(e *Expr) {
				if e.refusal != nil && !e.refusal.within(query) {
					e.refusal.Offset = -1
				}
			})
		}
		return p, err
	}
}

// within reports whether the offset is a place in the query. DuckDB writes some functions
// as macros, whose parts have places in the text of the macro.
func (r *Refusal) within(query string) bool {
	if r.Offset < 0 || r.Offset >= len(query) {
		return false
	}
	at := strings.ToLower(query[r.Offset:])
	name := strings.ToLower(r.function)
	return name == "" || !unicode.IsLetter(rune(name[0])) || strings.HasPrefix(at, name) || strings.HasPrefix(at, "extract")
}

func compile(bound []byte, tables []Table, bind Binder) (*Plan, error) {
	node, err := decodeBound(bound)
	if err != nil {
		return nil, err
	}
	c := &compiler{tables: tables, ctes: map[int]*boundPlan{}, bind: bind}
	rel := &relation{c: c}
	cols, err := rel.compile(node)
	if err != nil {
		return nil, err
	}
	if rel.input.Name != tables[0].Name {
		return nil, refuse(-1, "the leftmost table of the query is %q, but the request is %q", rel.input.Name, tables[0].Name)
	}
	p := &Plan{Version: Version, Request: rel.input, Lookups: rel.lookups, Slots: rel.slots, Steps: rel.steps}
	for _, col := range cols {
		p.Outputs = append(p.Outputs, Output{col.name, col.expr.Type, col.expr})
	}
	if err := p.nested(); err != nil {
		return nil, err
	}
	// What cannot be loaded is refused here, while the user still looks.
	_, err = Load(p.computed())
	return p, err
}

type compiler struct {
	tables []Table
	ctes   map[int]*boundPlan
	bind   Binder // nil if nothing is left to DuckDB
}

// closures is for the rows of a lookup, of which DuckDB computes nothing.
func (c *compiler) closures() *compiler {
	return &compiler{tables: c.tables, ctes: c.ctes}
}

// A relation is what is made of one table, row by row.
type relation struct {
	c       *compiler
	input   Input
	slots   int
	types   []string // of the slots
	steps   []Step
	lookups []Lookup
}

type column struct {
	name string
	expr *Expr
}

// compile adds the steps of a node, and returns its columns.
func (r *relation) compile(n *boundPlan) ([]column, error) {
	if len(n.Projected) > 0 && string(n.Projected) != "[]" && string(n.Projected) != "null" {
		return nil, refuse(-1, "DuckDB's plan of the query leaves out columns in a way that is not supported")
	}
	switch n.Type {
	case "LOGICAL_GET":
		return r.get(n)
	case "LOGICAL_PROJECTION":
		return r.projection(n)
	case "LOGICAL_FILTER":
		cols, err := r.compile(n.Children[0])
		if err != nil {
			return nil, err
		}
		for _, x := range n.Expressions {
			e, err := r.c.expression(x, cols)
			if err != nil {
				return nil, err
			}
			for _, part := range conjuncts(e) {
				if part, err = r.checked(part); err != nil {
					return nil, err
				}
				r.steps = append(r.steps, Step{Filter: part})
			}
		}
		return cols, nil
	case "LOGICAL_COMPARISON_JOIN", "LOGICAL_ASOF_JOIN":
		return r.join(n)
	case "LOGICAL_DELIM_JOIN", "LOGICAL_DEPENDENT_JOIN", "LOGICAL_CROSS_PRODUCT", "LOGICAL_ANY_JOIN":
		return r.otherJoin(n)
	case "LOGICAL_WINDOW":
		return r.window(n)
	case "LOGICAL_MATERIALIZED_CTE":
		r.c.ctes[n.TableIndex] = n.Children[0]
		return r.compile(n.Children[1])
	case "LOGICAL_CTE_REF":
		body := r.c.ctes[n.CTE]
		if body == nil {
			return nil, refuse(-1, "a recursive query is not computed row by row")
		}
		cols, err := r.compile(body)
		if err == nil && len(cols) == len(n.Bound) {
			cols = slices.Clone(cols)
			for i := range cols {
				cols[i].name = n.Bound[i]
			}
		}
		return cols, err
	}
	what, ok := clauses[n.Type]
	if !ok {
		what = n.Type
	}
	return nil, n.refused(what)
}

// refused refuses a node.
func (n *boundPlan) refused(what string) *Refusal {
	at := -1
	for _, e := range n.Expressions {
		if at < 0 {
			at = e.at()
		}
	}
	return &Refusal{Reason: what + " is not computed row by row", Offset: at}
}

// clauses names what operators of DuckDB's plans come from.
var clauses = map[string]string{
	"LOGICAL_AGGREGATE_AND_GROUP_BY": "an aggregate or GROUP BY", "LOGICAL_ORDER_BY": "ORDER BY",
	"LOGICAL_LIMIT": "LIMIT", "LOGICAL_TOP_N": "LIMIT", "LOGICAL_DISTINCT": "DISTINCT", "LOGICAL_UNION": "UNION",
	"LOGICAL_EXCEPT": "EXCEPT", "LOGICAL_INTERSECT": "INTERSECT", "LOGICAL_ANY_JOIN": "a join on a condition that is not a comparison of both tables",
	"LOGICAL_CROSS_PRODUCT": "a join without a condition", "LOGICAL_DELIM_JOIN": "a subquery that depends on the row",
	"LOGICAL_DEPENDENT_JOIN": "a subquery that depends on the row", "LOGICAL_UNNEST": "UNNEST", "LOGICAL_SAMPLE": "a sample",
	"LOGICAL_DUMMY_SCAN": "a SELECT without FROM", "LOGICAL_EXPRESSION_GET": "VALUES", "LOGICAL_RECURSIVE_CTE": "a recursive query",
	"LOGICAL_POSITIONAL_JOIN": "a positional join", "LOGICAL_PIVOT": "PIVOT", "LOGICAL_CHUNK_GET": "a list of values", "LOGICAL_EMPTY_RESULT": "a query without rows",
}

func (r *relation) get(n *boundPlan) ([]column, error) {
	i := slices.IndexFunc(r.c.tables, func(t Table) bool { return strings.EqualFold(t.Name, n.Function.Table) })
	if n.Name != "seq_scan" || i < 0 {
		return nil, refuse(-1, "a query that reads something else than its inputs is not computed row by row")
	}
	if len(n.ProjectionIDs) > 0 || len(n.Filters.Filters) > 0 {
		return nil, refuse(-1, "DuckDB's plan of the query leaves out columns in a way that is not supported")
	}
	r.input = Input{Name: r.c.tables[i].Name}
	for j, name := range n.Names {
		typ, err := n.Returned[j].name()
		if err == nil {
			_, err = parseType(typ)
		}
		if err != nil {
			return nil, refuse(-1, "column %q of %q: %v", name, r.input.Name, err)
		}
		r.input.Columns = append(r.input.Columns, Column{name, typ})
	}
	r.slots = len(r.input.Columns)
	for _, c := range r.input.Columns {
		r.types = append(r.types, c.Type)
	}
	cols := make([]column, len(n.Columns))
	for j, c := range n.Columns {
		if c.Index >= uint64(len(r.input.Columns)) || c.HasIndex != nil && !*c.HasIndex || len(c.Children) > 0 || c.Type != "FULL_READ" {
			// rowid, or the column that stands for all rows in a query that reads none.
			cols[j] = column{"rowid", nil}
			continue
		}
		in := r.input.Columns[c.Index]
		cols[j] = column{in.Name, &Expr{Op: "slot", Type: in.Type, Index: int(c.Index), At: -1}}
	}
	return cols, nil
}

func (r *relation) projection(n *boundPlan) ([]column, error) {
	in, err := r.compile(n.Children[0])
	if err != nil {
		return nil, err
	}
	cols := make([]column, len(n.Expressions))
	for i, x := range n.Expressions {
		e, err := r.c.expression(x, in)
		if err == nil {
			e, err = r.checked(e)
		}
		if err != nil {
			return nil, err
		}
		cols[i] = column{x.Alias, r.keep(x.Alias, e)}
	}
	return cols, nil
}

// keep computes an expression once, unless it is a column or a constant.
func (r *relation) keep(name string, e *Expr) *Expr {
	if e.Op == "slot" || e.Op == "lookup" || e.Op == "constant" || e.Op == refused {
		return e
	}
	slot := r.slots
	r.slots++
	r.types = append(r.types, e.Type)
	r.steps = append(r.steps, Step{Compute: &Compute{slot, name, e}})
	return &Expr{Op: "slot", Type: e.Type, Index: slot, At: e.At}
}

// conjuncts returns the conditions that AND connects.
func conjuncts(e *Expr) []*Expr {
	if e.Op != "and" {
		return []*Expr{e}
	}
	var all []*Expr
	for _, a := range e.Args {
		all = append(all, conjuncts(a)...)
	}
	return all
}

var comparisons = map[string]string{
	"COMPARE_EQUAL": "=", "COMPARE_NOTEQUAL": "<>", "COMPARE_LESSTHAN": "<", "COMPARE_LESSTHANOREQUALTO": "<=",
	"COMPARE_GREATERTHAN": ">", "COMPARE_GREATERTHANOREQUALTO": ">=",
	"COMPARE_DISTINCT_FROM": "is distinct from", "COMPARE_NOT_DISTINCT_FROM": "is not distinct from",
}

var operators = map[string]string{
	"OPERATOR_NOT": "not", "OPERATOR_IS_NULL": "is null", "OPERATOR_IS_NOT_NULL": "is not null", "OPERATOR_COALESCE": "coalesce",
	"COMPARE_IN": "in", "COMPARE_NOT_IN": "not in",
}

// expression compiles an expression over the columns of the node below it. What closures do
// not compute is left to DuckDB, if that is possible. What is refused is an expression, too.
func (c *compiler) expression(x *boundExpr, in []column) (*Expr, error) {
	e, err := c.own(x, in)
	if err == nil {
		if refusal := e.refusedBy(); refusal != nil {
			err = refusal
		} else if c.bind != nil {
			err = computable(e)
		}
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return e, err
	}
	if outside, ok, err := c.outsource(x, in); ok || err != nil {
		return outside, err
	}
	typ, err := x.result().name()
	if err != nil {
		typ = "NULL"
	}
	return refusedExpr(refusal, typ, x.reads(in)...), nil
}

// computable refuses an expression that cannot become a closure. Its arguments can.
func computable(e *Expr) error {
	t, err := parseType(e.Type)
	if err != nil {
		return refuse(e.At, "%v", err)
	}
	switch e.Op {
	case "slot", "lookup", external:
		return nil
	case "constant":
		_, err := constantOf(e, t)
		return err
	}
	c := &call{Expr: e, result: t, args: make([]eval, len(e.Args))}
	for i, a := range e.Args {
		typ, err := parseType(a.Type)
		if err != nil {
			return refuse(e.At, "%v", err)
		}
		if a.Op == "constant" {
			v, err := constantOf(a, typ)
			if err != nil {
				return err
			}
			c.args[i] = func(*Row) Value { return v }
		}
		c.types = append(c.types, typ)
	}
	_, err = c.build()
	return err
}

// own compiles an expression for closures.
func (c *compiler) own(x *boundExpr, in []column) (*Expr, error) {
	e := &Expr{At: x.at()}
	typ := x.Return
	var args []*boundExpr
	switch x.Class {
	case "BOUND_REF":
		if x.Index >= len(in) || in[x.Index].expr == nil {
			return nil, refuse(e.At, "rowid is not a column of the request")
		}
		col := *in[x.Index].expr
		if col.Op == refused {
			return &col, nil
		}
		// A collation is part of the type of a reference.
		if name, err := typ.name(); err != nil || name != col.Type {
			return nil, refuse(e.At, "column %q: %v", in[x.Index].name, orType(err, name))
		}
		return &col, nil
	case "BOUND_CONSTANT":
		e.Op, typ = "constant", x.Value.Type
		if !x.Value.Null {
			s, err := x.Value.text()
			if err != nil {
				return nil, refuse(e.At, "%v", err)
			}
			e.Value = &s
		}
	case "BOUND_CAST":
		e.Op, e.Try, args = "cast", x.Try, []*boundExpr{x.Child}
	case "BOUND_CASE":
		e.Op = "case"
		for _, check := range x.Checks {
			args = append(args, check.When, check.Then)
		}
		args = append(args, x.Else)
	case "BOUND_CONJUNCTION":
		e.Op, args = "and", x.Children
		if x.Type == "CONJUNCTION_OR" {
			e.Op = "or"
		}
		typ = boundType{ID: "BOOLEAN"}
	case "BOUND_COMPARISON":
		e.Op, e.Name, args = "compare", comparisons[x.Type], []*boundExpr{x.Left, x.Right}
		typ = boundType{ID: "BOOLEAN"}
	case "BOUND_OPERATOR":
		e.Op, args = operators[x.Type], x.Children
	case "BOUND_FUNCTION":
		e.Op, e.Name, args = "call", x.Name, x.Children
	case "BOUND_BETWEEN":
		return c.between(x, in)
	}
	if e.Op == "" || e.Op == "compare" && e.Name == "" {
		return nil, refuse(e.At, "%s is not computed row by row", strings.ToLower(strings.TrimPrefix(x.Class, "BOUND_")+" "+x.Type))
	}
	var err error
	if e.Type, err = typ.name(); err == nil {
		_, err = parseType(e.Type)
	}
	if err != nil {
		r := &Refusal{Reason: err.Error(), Offset: e.At}
		if e.Op == "call" {
			r.function = e.Name
		}
		return nil, r
	}
	for _, a := range args {
		arg, err := c.expression(a, in)
		if err != nil {
			return nil, err
		}
		e.Args = append(e.Args, arg)
	}
	return e, nil
}

func orType(err error, name string) any {
	if err != nil {
		return err
	}
	return "DuckDB takes it as " + name
}

// between is an AND of two comparisons.
func (c *compiler) between(x *boundExpr, in []column) (*Expr, error) {
	and := &Expr{Op: "and", Type: "BOOLEAN", At: x.at()}
	for i, bound := range []*boundExpr{x.Lower, x.Upper} {
		left, err := c.expression(x.Input, in)
		if err != nil {
			return nil, err
		}
		right, err := c.expression(bound, in)
		if err != nil {
			return nil, err
		}
		op := [][2]string{{">", ">="}, {"<", "<="}}[i][0]
		if i == 0 && x.LowerInclusive || i == 1 && x.UpperInclusive {
			op += "="
		}
		and.Args = append(and.Args, &Expr{Op: "compare", Name: op, Type: "BOOLEAN", Args: []*Expr{left, right}, At: x.at()})
	}
	return and, nil
}
