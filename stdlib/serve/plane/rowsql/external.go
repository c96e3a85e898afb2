package rowsql

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// An expression that closures do not compute can be left to DuckDB: the query remains one
// that is computed row by row, and only this expression, over values of the row, is asked of
// DuckDB. Its text is made from the bound plan, with every cast written out, and is admitted
// only if DuckDB binds that text to the same plan again.

// A Binder returns what engine.Checker.Bind returns for a query over one table with the
// name "t".
type Binder func(columns ir.Schema, query string) ([]byte, error)

// CompileWithDuckDB is [Compile], and leaves expressions that are not computed otherwise to
// DuckDB. [Plan.NeedsDuckDB] says whether there are some.
func CompileWithDuckDB(query string, bound []byte, tables []Table, bind Binder) (*Plan, error) {
	return placed(query)(compile(bound, tables, bind))
}

// NeedsDuckDB reports whether DuckDB computes a part of a plan.
func (p *Plan) NeedsDuckDB() bool {
	found := false
	p.exprs(func(e *Expr) { found = found || e.Op == external })
	return found
}

// external is the operation of an expression that DuckDB computes. Its name is the text, in
// which arguments are the columns "a0", "a1" and so on.
const external = "duckdb"

// outsource returns an expression that DuckDB computes, or false if it cannot be one.
func (c *compiler) outsource(x *boundExpr, in []column) (*Expr, bool, error) {
	if c.bind == nil {
		return nil, false, nil
	}
	e := &Expr{Op: external, At: x.at()}
	var err error
	if e.Type, err = x.result().name(); err != nil || irType(e.Type) == "" {
		return nil, false, nil
	}
	w := writer{args: func(i int) (int, string, bool) {
		if i >= len(in) || in[i].expr == nil || in[i].expr.Op == refused || irType(in[i].expr.Type) == "" {
			return 0, "", false
		}
		n := slices.IndexFunc(e.Args, in[i].expr.same)
		if n < 0 {
			arg := *in[i].expr
			n, e.Args = len(e.Args), append(e.Args, &arg)
		}
		return n, in[i].expr.Type, true
	}}
	if e.Name = w.text(x); w.failed || len(e.Args) == 0 {
		return nil, false, nil
	}
	same, err := c.bindsToItself(e)
	return e, same, err
}

// bindsToItself reports whether DuckDB understands the text of an expression as the plan
// that it was made from.
func (c *compiler) bindsToItself(e *Expr) (bool, error) {
	var columns ir.Schema
	for i, a := range e.Args {
		columns = append(columns, ir.Column{Name: argument(i), Type: irType(a.Type), Nullable: true})
	}
	bound, err := c.bind(columns, "SELECT "+e.Name+" AS x FROM t")
	if errors.As(err, new(*duck.SQLError)) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	node, err := decodeBound(bound)
	if errors.As(err, new(*Refusal)) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if node.Type != "LOGICAL_PROJECTION" || len(node.Expressions) != 1 || len(node.Children) != 1 || node.Children[0].Type != "LOGICAL_GET" {
		return false, nil
	}
	get := node.Children[0]
	again := writer{args: func(i int) (int, string, bool) {
		if i >= len(get.Columns) || get.Columns[i].Index >= uint64(len(e.Args)) {
			return 0, "", false
		}
		n := int(get.Columns[i].Index)
		return n, e.Args[n].Type, true
	}}
	x := node.Expressions[0]
	typ, err := x.result().name()
	return err == nil && typ == e.Type && again.text(x) == e.Name && !again.failed, nil
}

// same reports whether two expressions are the same column or constant.
func (e *Expr) same(o *Expr) bool {
	value := func(e *Expr) string {
		if e.Value == nil {
			return ""
		}
		return "=" + *e.Value
	}
	return e.Op == o.Op && e.Type == o.Type && e.Index == o.Index && e.From == o.From && value(e) == value(o) && len(e.Args)+len(o.Args) == 0
}

func argument(i int) string { return "a" + strconv.Itoa(i) }

// irType returns the type of a column that DuckDB's type is, or "".
func irType(duck string) string {
	for name, d := range ir.Types {
		if d == duck && name != "bytes" {
			return name
		}
	}
	return ""
}

// result is the type of an expression.
func (e *boundExpr) result() boundType {
	switch {
	case e.Class == "BOUND_CONSTANT" && e.Value != nil:
		return e.Value.Type
	case e.Class == "BOUND_CONJUNCTION", e.Class == "BOUND_COMPARISON", e.Class == "BOUND_BETWEEN":
		return boundType{ID: "BOOLEAN"}
	}
	return e.Return
}

// A writer writes bound expressions as SQL. Casts, names and types are written such that
// DuckDB can understand them in one way only.
type writer struct {
	args   func(index int) (argument int, typ string, ok bool)
	failed bool
}

func (w *writer) fail() string {
	w.failed = true
	return ""
}

func (w *writer) text(x *boundExpr) string {
	if x == nil {
		return w.fail()
	}
	switch x.Class {
	case "BOUND_REF":
		i, typ, ok := w.args(x.Index)
		if name, err := x.Return.name(); !ok || err != nil || name != typ {
			return w.fail()
		}
		return argument(i)
	case "BOUND_CONSTANT":
		return w.constant(x.Value)
	case "BOUND_CAST":
		cast := "CAST("
		if x.Try {
			cast = "TRY_CAST("
		}
		return cast + w.text(x.Child) + " AS " + w.typ(x.Return) + ")"
	case "BOUND_CASE":
		s := "CASE"
		for _, c := range x.Checks {
			s += " WHEN " + w.text(c.When) + " THEN " + w.text(c.Then)
		}
		return s + " ELSE " + w.text(x.Else) + " END"
	case "BOUND_CONJUNCTION":
		return w.joined(x.Children, map[string]string{"CONJUNCTION_AND": " AND ", "CONJUNCTION_OR": " OR "}[x.Type])
	case "BOUND_COMPARISON":
		op := comparisons[x.Type]
		if op == "" {
			return w.fail()
		}
		return w.joined([]*boundExpr{x.Left, x.Right}, " "+strings.ToUpper(op)+" ")
	case "BOUND_BETWEEN":
		if !x.LowerInclusive || !x.UpperInclusive {
			return w.fail()
		}
		return "(" + w.text(x.Input) + " BETWEEN " + w.text(x.Lower) + " AND " + w.text(x.Upper) + ")"
	case "BOUND_FUNCTION":
		return `"` + strings.ReplaceAll(x.Name, `"`, `""`) + `"` + w.list(x.Children)
	case "BOUND_OPERATOR":
		return w.operator(x)
	}
	return w.fail()
}

func (w *writer) operator(x *boundExpr) string {
	op := operators[x.Type]
	switch {
	case len(x.Children) == 0:
	case op == "not" && len(x.Children) == 1:
		return "(NOT " + w.text(x.Children[0]) + ")"
	case (op == "is null" || op == "is not null") && len(x.Children) == 1:
		return "(" + w.text(x.Children[0]) + " " + strings.ToUpper(op) + ")"
	case op == "coalesce":
		return "coalesce" + w.list(x.Children)
	case (op == "in" || op == "not in") && len(x.Children) > 1:
		return "(" + w.text(x.Children[0]) + " " + strings.ToUpper(op) + " " + w.list(x.Children[1:]) + ")"
	}
	return w.fail()
}

func (w *writer) list(all []*boundExpr) string { return w.joined(all, ", ") }

func (w *writer) joined(all []*boundExpr, by string) string {
	if by == "" {
		return w.fail()
	}
	var parts []string
	for _, x := range all {
		parts = append(parts, w.text(x))
	}
	return "(" + strings.Join(parts, by) + ")"
}

// typ writes a type, which may be nested.
func (w *writer) typ(t boundType) string {
	if name, err := t.name(); err == nil {
		return name
	}
	if t.Info.Alias != "" || t.Info.Collation != "" {
		return w.fail()
	}
	switch {
	case t.ID == "LIST" && t.Info.Child != nil:
		return w.typ(*t.Info.Child) + "[]"
	case t.ID == "STRUCT" && len(t.Info.Children) > 0:
		var fields []string
		for _, f := range t.Info.Children {
			fields = append(fields, `"`+strings.ReplaceAll(f.First, `"`, `""`)+`" `+w.typ(f.Second))
		}
		return "STRUCT(" + strings.Join(fields, ", ") + ")"
	}
	return w.fail()
}

func (w *writer) constant(v *boundValue) string {
	typ, err := v.Type.name()
	if err != nil {
		return w.fail()
	}
	if v.Null {
		if typ == "NULL" {
			return "NULL"
		}
		return "CAST(NULL AS " + typ + ")"
	}
	s, err := v.text()
	if err != nil {
		return w.fail()
	}
	t, err := parseType(typ)
	switch {
	case typ == "INTEGER_LITERAL":
		return s
	case err != nil:
		return w.fail()
	case t.class == varchar:
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	case t.class == boolean, t.class == integer, t.class == bigint, t.class == hugeint:
		return s
	case t.class == double:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return w.fail()
		}
		return strconv.FormatFloat(f, 'e', -1, 64)
	case t.class == decimal:
		n, ok := parseWide(s)
		if !ok {
			return w.fail()
		}
		return string(n.appendDecimal(nil, t.width, t.scale))
	}
	return w.fail()
}
