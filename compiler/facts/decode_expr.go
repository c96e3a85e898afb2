package facts

import (
	"encoding/json"
	"slices"
	"strings"
)

type kind int

const (
	other    kind = iota // computed from its args
	column               // names
	numbered             // a column, by its position
	constant
	star
	call
	window
	subquery
	equal    // compares its two args
	compares // its first arg with the others, by op
	cases    // one of its arms
	notNull
)

type expr struct {
	kind    kind
	alias   string
	at      int      // the first byte in the query, or -1
	sign    int      // the byte of its operator or name, or -1
	typ     string   // DuckDB's type of expression
	try     bool     // TRY_CAST
	to      string   // of a cast: the type
	nargs   int      // of a call, an operator or a window: how many of args are its arguments
	names   []string // of a column: its qualified name
	name    string   // of a call or window: the function
	args    []*expr
	decides []*expr  // of args, conditions; of a window, what it selects rows by besides its order
	bound   []string // parameters of lambdas, which are not columns
	query   *query
	filter  bool      // of an aggregate: FILTER
	pivoted bool      // of a call: by PIVOT or UNPIVOT
	index   int       // of a position: that of a column of the tables, from 1
	exists  bool      // of a subquery: EXISTS
	op      string    // of a comparison: "=", "<", "in" ...
	value   *Constant // of a constant that is a text or a number
	null    bool      // of a constant
	arms    []*expr   // of CASE
	number  *int64    // of a constant
	node    any       // DuckDB's tree of it

	// Of a star.
	table   string
	exclude []string // of which some are qualified by a table
	replace map[string]*expr
	rename  map[string]string
	each    bool     // COLUMNS(...): the expression around it is repeated
	only    selector // what selects the columns, as in COLUMNS('x.*'); nil selects all

	// Of a window.
	partitions     []*expr
	orders         []*expr
	descending     bool
	start, end     string
	current        bool // EXCLUDE leaves the row itself in
	startAt, endAt *int64
}

// conjuncts returns the conditions that AND connects.
func conjuncts(n any) []*expr {
	m := asObject(n)
	if m == nil {
		return nil
	}
	if text(m, "type") != "CONJUNCTION_AND" {
		return []*expr{decodeExpr(n)}
	}
	var all []*expr
	for _, c := range list(m, "children") {
		all = append(all, conjuncts(c)...)
	}
	return all
}

func decodeExpr(n any) *expr {
	m := asObject(n)
	if like := starLike(m); like != nil {
		return like
	}
	e := &expr{alias: text(m, "alias"), at: first(m), name: strings.ToLower(text(m, "function_name")), current: true,
		sign: location(m), typ: text(m, "type"), try: m["try_cast"] == true, to: text(object(m, "cast_type"), "id"), nargs: len(list(m, "children")), node: n}
	switch text(m, "class") {
	case "COLUMN_REF":
		e.kind, e.names = column, names(m, "column_names")
		return e
	case "CONSTANT":
		e.kind, e.number = constant, number(n)
		e.value, e.null = literal(m)
		return e
	case "STAR":
		e.star(m)
		return e
	case "POSITIONAL_REFERENCE":
		e.kind = numbered
		if i, ok := m["index"].(json.Number); ok {
			i, _ := i.Int64()
			e.index = int(i)
		}
		return e
	case "SUBQUERY":
		e.kind, e.query = subquery, decodeQuery(object(object(m, "subquery"), "node"))
		e.exists = strings.Contains(text(m, "subquery_type"), "EXISTS")
		if m["child"] != nil {
			e.args = []*expr{decodeExpr(m["child"])}
		}
		return e
	case "LAMBDA":
		lhs := decodeExpr(m["lhs"])
		e.args = []*expr{decodeExpr(m["expr"])}
		for _, p := range append(lhs.args, lhs) {
			e.bound = append(e.bound, p.names...)
		}
		return e
	case "FUNCTION":
		e.kind, e.filter, e.pivoted = call, m["filter"] != nil, m[pivoted] == true
	case "WINDOW":
		e.kind, e.filter = window, m["filter_expr"] != nil
		for _, o := range list(m, "orders") {
			e.orders = append(e.orders, decodeExpr(asObject(o)["expression"]))
			e.descending = e.descending || text(asObject(o), "type") == "DESCENDING" && len(e.orders) == 1
		}
		e.partitions, e.filter = nested(m["partitions"]), m["filter_expr"] != nil
		e.start, e.end = text(m, "start"), text(m, "end")
		e.current = text(m, "exclude_clause") != "CURRENT_ROW" && text(m, "exclude_clause") != "GROUP"
		e.startAt, e.endAt = number(m["start_expr"]), number(m["end_expr"])
		if o := m["offset_expr"]; o != nil {
			e.startAt = number(o)
			if e.startAt == nil {
				e.current = false // how far it looks is not known
				e.name += "?"
			}
		}
		for _, k := range []string{"partitions", "filter_expr", "arg_orders"} {
			e.decides = append(e.decides, nested(m[k])...)
		}
		for _, k := range []string{"children", "default_expr"} {
			e.args = append(e.args, nested(m[k])...)
		}
		return e
	case "COMPARISON":
		e.args = []*expr{decodeExpr(m["left"]), decodeExpr(m["right"])}
		if e.op = operators[text(m, "type")]; e.op == "=" {
			e.kind = equal
		} else if e.op != "" {
			e.kind = compares
		}
		return e
	case "BETWEEN":
		e.kind, e.op = compares, "between"
		e.args = []*expr{decodeExpr(m["input"]), decodeExpr(m["lower"]), decodeExpr(m["upper"])}
		return e
	case "CASE":
		for _, c := range list(m, "case_checks") {
			e.args = append(e.args, decodeExpr(asObject(c)["when_expr"]))
			e.arms = append(e.arms, decodeExpr(asObject(c)["then_expr"]))
		}
		if m["else_expr"] != nil {
			e.arms = append(e.arms, decodeExpr(m["else_expr"]))
		}
		e.kind, e.decides, e.args = cases, slices.Clone(e.args), append(e.args, e.arms...)
		return e
	case "OPERATOR":
		switch text(m, "type") {
		case "OPERATOR_IS_NOT_NULL":
			e.kind = notNull
		case "COMPARE_IN", "COMPARE_NOT_IN":
			e.kind, e.op, e.args = compares, "in", nested(m["children"])
			return e
		}
	}
	for _, k := range sorted(m) {
		part := nested(m[k])
		e.args = append(e.args, part...)
		if k == "filter" || k == "order_bys" {
			e.decides = append(e.decides, part...)
		}
	}
	return e
}

func decodeExprs(list []any) []*expr {
	var all []*expr
	for _, x := range list {
		all = append(all, decodeExpr(x))
	}
	return all
}

// nested returns the outermost expressions in a part of the tree.
func nested(n any) []*expr {
	switch n := n.(type) {
	case []any:
		var all []*expr
		for _, x := range n {
			all = append(all, nested(x)...)
		}
		return all
	case map[string]any:
		if n["class"] != nil {
			return []*expr{decodeExpr(n)}
		}
		var all []*expr
		for _, k := range sorted(n) {
			all = append(all, nested(n[k])...)
		}
		return all
	}
	return nil
}
