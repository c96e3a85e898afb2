package facts

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A query is a SELECT, a set operation, or something that is not understood.
type query struct {
	with   []cte
	parts  []*query // of a set operation
	byName bool     // it matches columns by their names

	items   []*expr
	from    *source // nil without FROM
	where   []*expr // conjuncts of WHERE, HAVING and QUALIFY
	sets    bool    // several grouping sets
	groups  []*expr
	grouped bool    // GROUP BY ALL
	limited bool    // by LIMIT, DISTINCT or a sample
	picks   []*expr // that order the rows of a limited query, or by which it is distinct
	unique  bool    // no two of its rows are equal
	wheres  int     // how many of where are of WHERE

	distinct   bool
	distinctOn []*expr
	limit      *int64
	sampled    bool   // or limited by something else
	setop      string // "UNION", "EXCEPT" ...
	all        bool   // UNION ALL
	at         int    // the first byte in the query, or -1

	unknown bool
}

type cte struct {
	name    string
	aliases []string
	query   *query
}

// A source is a part of a FROM clause.
type source struct {
	table   string // of a base table
	query   *query // of a subquery
	alias   string
	columns []string // aliases

	left, right *source // of a join
	kind        string  // "INNER", "LEFT", "SEMI" ...
	using       []string
	on          []*expr // conjuncts
	inexact     bool    // ASOF, POSITIONAL, NATURAL
	asof        bool
	at          int   // the byte of the query at which the join or the table begins
	unknown     bool  // not understood
	unnest      *expr // of FROM UNNEST(...)
	start       int   // the first byte of its text in the query, or -1
}

type kind int

const (
	other  kind = iota // computed from its args
	column             // names
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
	exists  bool      // of a subquery: EXISTS
	op      string    // of a comparison: "=", "<", "in" ...
	value   *Constant // of a constant that is a text or a number
	null    bool      // of a constant
	arms    []*expr   // of CASE
	number  *int64    // of a constant
	node    any       // DuckDB's tree of it

	// Of a star.
	table    string
	exclude  []string
	replace  map[string]*expr
	patterns bool // COLUMNS(...), or a renaming

	// Of a window.
	partitions     []*expr
	orders         []*expr
	descending     bool
	start, end     string
	current        bool // EXCLUDE leaves the row itself in
	startAt, endAt *int64
}

// decode reads the tree of one SELECT as json_serialize_sql writes it with skip_null.
func decode(tree []byte) (*query, error) {
	var doc struct {
		Statements []struct {
			Node map[string]any `json:"node"`
		} `json:"statements"`
	}
	d := json.NewDecoder(strings.NewReader(string(tree)))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("decode DuckDB's tree of a query: %w", err)
	}
	if len(doc.Statements) != 1 {
		return &query{unknown: true}, nil
	}
	return decodeQuery(doc.Statements[0].Node), nil
}

func decodeQuery(n map[string]any) *query {
	q := &query{}
	for _, e := range list(object(n, "cte_map"), "map") {
		value := object(asObject(e), "value")
		q.with = append(q.with, cte{text(asObject(e), "key"), names(value, "aliases"), decodeQuery(object(object(value, "query"), "node"))})
	}
	q.at = first(n["select_list"])
	q.modifiers(n)
	q.limited = len(list(n, "modifiers")) > 0 && slices.ContainsFunc(list(n, "modifiers"), func(m any) bool { return text(asObject(m), "type") != "ORDER_MODIFIER" })
	for _, m := range list(n, "modifiers") {
		switch m := asObject(m); text(m, "type") {
		case "ORDER_MODIFIER":
			q.picks = append(q.picks, nested(m["orders"])...)
		case "DISTINCT_MODIFIER":
			on := nested(m["distinct_on_targets"])
			q.picks, q.unique = append(q.picks, on...), q.unique || len(on) == 0
		}
	}
	if !q.limited {
		q.picks = nil
	}
	switch text(n, "type") {
	case "SELECT_NODE":
		for _, e := range list(n, "select_list") {
			q.items = append(q.items, decodeExpr(e))
		}
		for _, e := range list(n, "group_expressions") {
			q.groups = append(q.groups, decodeExpr(e))
		}
		for _, k := range []string{"where_clause", "having", "qualify"} {
			q.where = append(q.where, conjuncts(n[k])...)
			if k == "where_clause" {
				q.wheres = len(q.where)
			}
		}
		q.sets = len(list(n, "group_sets")) > 1
		q.sampled = q.sampled || n["sample"] != nil
		q.from = decodeSource(object(n, "from_table"))
		q.limited = q.limited || n["sample"] != nil
		q.grouped = text(n, "aggregate_handling") == "FORCE_AGGREGATES"
		q.sets = len(list(n, "group_sets")) > 1
	case "SET_OPERATION_NODE":
		for _, k := range []string{"left", "right"} {
			if n[k] != nil {
				q.parts = append(q.parts, decodeQuery(object(n, k)))
			}
		}
		for _, c := range list(n, "children") {
			q.parts = append(q.parts, decodeQuery(asObject(c)))
		}
		setop := text(n, "setop_type")
		q.setop, q.all = setop, n["setop_all"] == true
		if q.at < 0 && len(q.parts) > 0 {
			q.at = q.parts[0].at
		}
		q.byName = setop == "UNION_BY_NAME"
		q.unknown = len(q.parts) < 2
		q.unique = q.unique || n["setop_all"] != true
		if setop == "EXCEPT" || setop == "INTERSECT" {
			q.limited = true
		}
	default:
		q.unknown = true
	}
	return q
}

// modifiers reads DISTINCT and LIMIT.
func (q *query) modifiers(n map[string]any) {
	for _, m := range list(n, "modifiers") {
		m := asObject(m)
		switch text(m, "type") {
		case "DISTINCT_MODIFIER":
			q.distinct = true
			for _, e := range list(m, "distinct_on_targets") {
				q.distinctOn = append(q.distinctOn, decodeExpr(e))
			}
		case "LIMIT_MODIFIER":
			if q.limit = number(m["limit"]); q.limit == nil && m["limit"] != nil {
				q.sampled = true
			}
		case "ORDER_MODIFIER":
		default:
			q.sampled = true
		}
	}
}

func decodeSource(n map[string]any) *source {
	s := &source{alias: text(n, "alias"), columns: names(n, "column_name_alias"), at: location(n), start: first(n)}
	switch text(n, "type") {
	case "", "EMPTY":
		return nil
	case "BASE_TABLE":
		s.table = text(n, "table_name")
		if s.alias == "" {
			s.alias = s.table
		}
	case "SUBQUERY":
		s.query = decodeQuery(object(object(n, "subquery"), "node"))
	case "JOIN":
		s.left, s.right = decodeSource(object(n, "left")), decodeSource(object(n, "right"))
		s.kind, s.using, s.on = text(n, "join_type"), names(n, "using_columns"), conjuncts(n["condition"])
		ref := text(n, "ref_type")
		s.inexact, s.asof = ref != "REGULAR" && ref != "CROSS", ref == "ASOF"
		s.unknown = s.left == nil || s.right == nil || ref == "NATURAL" || ref == "DEPENDENT"
	case "TABLE_FUNCTION":
		s.unknown = true
		if f := object(n, "function"); text(f, "function_name") == "unnest" {
			s.unnest = decodeExpr(f)
		}
	default:
		s.unknown = true
	}
	if n["sample"] != nil {
		s.inexact = true
	}
	return s
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
		e.kind, e.table, e.exclude = star, text(m, "relation_name"), names(m, "exclude_list")
		for _, x := range list(m, "qualified_exclude_list") {
			e.exclude = append(e.exclude, text(asObject(x), "column"))
		}
		e.replace = map[string]*expr{}
		for _, x := range list(m, "replace_list") {
			e.replace[strings.ToLower(text(asObject(x), "key"))] = decodeExpr(asObject(x)["value"])
		}
		e.patterns = m["columns"] == true || len(list(m, "rename_list")) > 0
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
		e.kind, e.filter = call, m["filter"] != nil
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
		if k == "replace_list" {
			continue
		}
		part := nested(m[k])
		e.args = append(e.args, part...)
		if k == "filter" || k == "order_bys" {
			e.decides = append(e.decides, part...)
		}
	}
	return e
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

// first returns the first byte of an expression in the query, or -1. DuckDB locates an
// operator at its sign.
func first(n any) int {
	at := -1
	least := func(i int) {
		if i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			least(first(x))
		}
	case map[string]any:
		least(location(n))
		for _, x := range n {
			least(first(x))
		}
	}
	return at
}

// location returns the byte of the query at which DuckDB locates a part of the tree, or -1.
func location(m map[string]any) int {
	if l, ok := m["query_location"].(json.Number); ok {
		if i, err := l.Int64(); err == nil {
			return int(i)
		}
	}
	return -1
}

// number returns the whole number that a constant is, or nil.
func number(n any) *int64 {
	m := asObject(n)
	if text(m, "class") == "CAST" {
		return number(m["child"])
	}
	if v, ok := object(m, "value")["value"].(json.Number); ok && text(m, "class") == "CONSTANT" && text(object(object(m, "value"), "type"), "id") != "DECIMAL" {
		if i, err := v.Int64(); err == nil {
			return &i
		}
	}
	return nil
}

// operators are those that compare two values, and are null if one of them is.
var operators = map[string]string{
	"COMPARE_EQUAL": "=", "COMPARE_NOTEQUAL": "<>", "COMPARE_LESSTHAN": "<", "COMPARE_GREATERTHAN": ">",
	"COMPARE_LESSTHANOREQUALTO": "<=", "COMPARE_GREATERTHANOREQUALTO": ">=",
}

// literal returns the text or the number that a constant is, and whether it is null.
func literal(m map[string]any) (c *Constant, null bool) {
	value := object(m, "value")
	typ := object(value, "type")
	switch v := value["value"].(type) {
	case string:
		if text(typ, "id") == "VARCHAR" {
			return &Constant{Text: v, Offset: first(m)}, false
		}
	case json.Number:
		s := v.String()
		if text(typ, "id") == "DECIMAL" {
			scale, ok := object(typ, "type_info")["scale"].(json.Number)
			if !ok {
				scale = "0"
			}
			s = decimal(s, scale.String())
		}
		return &Constant{Text: s, Number: true, Offset: first(m)}, false
	}
	return nil, value["is_null"] == true
}

// decimal writes a number of which the last digits come after the point.
func decimal(digits, scale string) string {
	n, err := strconv.Atoi(scale)
	if err != nil || n == 0 {
		return digits
	}
	sign := ""
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		sign, digits = "-", rest
	}
	digits = strings.Repeat("0", max(0, n+1-len(digits))) + digits
	return sign + digits[:len(digits)-n] + "." + digits[len(digits)-n:]
}

func asObject(n any) map[string]any { m, _ := n.(map[string]any); return m }

func object(m map[string]any, key string) map[string]any { return asObject(m[key]) }

func list(m map[string]any, key string) []any { l, _ := m[key].([]any); return l }

func text(m map[string]any, key string) string { s, _ := m[key].(string); return s }

func names(m map[string]any, key string) []string {
	var all []string
	for _, x := range list(m, key) {
		s, _ := x.(string)
		all = append(all, s)
	}
	return all
}

func sorted(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
