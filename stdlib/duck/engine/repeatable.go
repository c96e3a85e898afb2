package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A repeatable query gives the same rows for the same inputs, however many threads run
// it. DuckDB promises less: several threads add floats, break ties and collect lists in
// an order that differs from run to run.
type repeatable struct {
	sql    string // the query, with an order wherever its result depends on one
	sorted bool   // the result has an order: the query's own, or that of the input's rows
	serial bool   // it depends on an order that SQL cannot express: run it on one thread
}

// makeRepeatable adds an order to a query wherever its result would depend on the order
// of rows. columns are the names of all columns of the inputs. With total, rows that tie
// in the ORDER BY of the result are ordered as well.
//
// It does not look for what [unrepeatable] refuses.
func (s *session) makeRepeatable(ctx context.Context, query string, columns []string, total bool) (repeatable, error) {
	r := repeatable{sql: query}
	tree, err := s.parse(ctx, query)
	if err != nil {
		return r, err
	}
	if tree == nil { // a PIVOT without IN, which DuckDB turns into several statements
		r.serial = true
		return r, nil
	}
	w := orderer{reserved: map[string]bool{}}
	for _, c := range columns {
		w.reserved[strings.ToLower(c)] = true
	}
	w.reserve(tree)
	top := topNode(tree)
	signs, err := s.showsSigns(ctx, tree)
	if err != nil {
		return r, err
	}
	w.visit(tree, nil)
	own := modifier(top, "ORDER_MODIFIER") != nil
	if own && total {
		w.breakTies(top)
	}
	r.sorted = own || rowByRow(top)
	r.serial = w.serial || signs
	if !w.changed {
		return r, nil
	}
	doc, err := json.Marshal(tree)
	if err != nil {
		return r, fmt.Errorf("order a query: %w", err)
	}
	if err := s.one(ctx, "SELECT json_deserialize_sql("+quote(string(doc))+"::JSON)", &r.sql); err != nil {
		return r, fmt.Errorf("order a query: %w", err)
	}
	return r, nil
}

// Aggregates whose result does not depend on the order of rows, or whose own arguments
// state the order.
var orderFree = set("approx_count_distinct", "bit_and", "bit_or", "bit_xor", "bitstring_agg", "bool_and", "bool_or",
	"count", "count_if", "countif", "count_star", "histogram", "histogram_exact", "mad", "max", "median", "min",
	"quantile", "quantile_cont", "quantile_disc", "regr_count")

// Aggregates for which any order will do, as long as it is the same in every run: they
// add floats or pick one of several values.
var anyOrder = set("any_value", "approx_quantile", "approx_top_k", "arbitrary", "avg", "corr", "covar_pop", "covar_samp",
	"entropy", "favg", "fsum", "kahan_sum", "kurtosis", "kurtosis_pop", "mean", "mode", "product", "regr_avgx", "regr_avgy",
	"regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy", "sem", "skewness", "stddev", "stddev_pop",
	"stddev_samp", "sum", "sum_no_overflow", "sumkahan", "var_pop", "var_samp", "variance")

// Aggregates that return the first argument of the row with an extreme second argument.
var extremes = set("arg_max", "arg_max_null", "arg_max_nulls_last", "arg_min", "arg_min_null", "arg_min_nulls_last",
	"argmax", "argmin", "max_by", "min_by")

// Aggregates whose meaning is an order: the query has to state it.
var ownOrder = set("array_agg", "first", "group_concat", "last", "list", "listagg", "string_agg")

// Macros of DuckDB that add floats. They take no ORDER BY.
var floatMacros = set("geomean", "geometric_mean", "wavg", "weighted_avg")

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// An orderer rewrites a parse tree.
type orderer struct {
	reserved map[string]bool // names that a column of some table may have, in lower case
	changed  bool
	serial   bool
	aliases  int
}

// A selection is a SELECT around an expression.
type selection struct {
	node     map[string]any
	extremes map[string][]any // first arguments of extremes, by the others
}

// reserve collects the names that the query gives to columns.
func (w *orderer) reserve(n any) {
	each(n, func(m map[string]any) {
		if m["class"] != nil {
			w.reserved[strings.ToLower(text(m, "alias"))] = true
		}
		for _, name := range list(m, "column_name_alias") {
			s, _ := name.(string)
			w.reserved[strings.ToLower(s)] = true
		}
	})
}

func (w *orderer) visit(n any, in *selection) {
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			w.visit(x, in)
		}
	case map[string]any:
		if n["type"] == "SELECT_NODE" {
			in = &selection{node: n, extremes: map[string][]any{}}
			in.collectExtremes(n)
		}
		for _, k := range sortedNames(n) {
			w.visit(n[k], in)
		}
		switch {
		case n["class"] == "FUNCTION":
			w.aggregate(n, in)
		case n["class"] == "WINDOW":
			w.window(n, in)
		case n["ref_type"] == "ASOF":
			w.serial = true // several rows may be the nearest
		}
		if modifier(n, "ORDER_MODIFIER") != nil && (modifier(n, "LIMIT") != nil || distinctOn(n) != nil) {
			w.breakTies(n)
		}
	}
}

// aggregate adds an ORDER BY to an aggregate.
func (w *orderer) aggregate(n map[string]any, in *selection) {
	name := strings.ToLower(text(n, "function_name"))
	by, _ := n["order_bys"].(map[string]any)
	if by == nil || n["is_operator"] == true {
		return
	}
	var ties []any
	switch {
	case floatMacros[name]:
		w.serial = true
	case anyOrder[name]:
		ties = list(n, "children")
	case ownOrder[name] && len(list(by, "orders")) > 0:
		ties = list(n, "children")
	case extremes[name] && in != nil:
		if args := list(n, "children"); len(args) > 1 {
			ties = append(slices.Clone(args[1:]), in.extremes[extremeKey(args)]...)
		}
	}
	if orders := appendOrders(list(by, "orders"), ties); len(orders) > len(list(by, "orders")) {
		by["orders"] = orders
		w.changed = true
	}
}

// collectExtremes finds what the extremes of a SELECT return. All of them that look for
// the same extreme break ties alike, so that their values come from one row.
func (s *selection) collectExtremes(n any) {
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			s.collectExtremes(x)
		}
	case map[string]any:
		if n["type"] == "SELECT_NODE" && len(s.extremes) > 0 {
			return
		}
		for _, k := range sortedNames(n) {
			if sub, ok := n[k].(map[string]any); ok && sub["type"] == "SELECT_NODE" {
				continue
			}
			s.collectExtremes(n[k])
		}
		if args := list(n, "children"); n["class"] == "FUNCTION" && extremes[strings.ToLower(text(n, "function_name"))] && len(args) > 1 {
			key := extremeKey(args)
			s.extremes[key] = append(s.extremes[key], args[0])
		}
	}
}

func extremeKey(args []any) string { return string(withoutPlaces(args[1:])) }

// Frames of windows: the rest of the names is the unit.
const (
	unboundedPreceding = "UNBOUNDED_PRECEDING"
	unboundedFollowing = "UNBOUNDED_FOLLOWING"
)

// window adds an order to a window function.
func (w *orderer) window(n map[string]any, in *selection) {
	orders := list(n, "orders")
	start, end := text(n, "start"), text(n, "end")
	rows := strings.HasSuffix(start, "_ROWS") || strings.HasSuffix(end, "_ROWS")
	whole := start == unboundedPreceding && (end == unboundedFollowing || len(orders) == 0 && end == "CURRENT_ROW_RANGE")
	switch typ := text(n, "type"); typ {
	case "WINDOW_ROW_NUMBER", "WINDOW_NTILE", "WINDOW_LEAD", "WINDOW_LAG":
		w.orderWindow(n, in)
	case "WINDOW_FILL": // takes one ORDER BY expression only
		w.serial = true
	case "WINDOW_FIRST_VALUE", "WINDOW_LAST_VALUE", "WINDOW_NTH_VALUE":
		if rows {
			w.orderWindow(n, in)
		} else {
			w.orderArguments(n, orders)
		}
	case "WINDOW_AGGREGATE":
		name := strings.ToLower(text(n, "function_name"))
		switch {
		case rows && !whole: // which rows are in a frame depends on their order
			w.orderWindow(n, in)
		case orderFree[name] || !anyOrder[name] && !extremes[name] && !ownOrder[name]:
		case whole && (len(list(n, "arg_orders")) > 0 || !ownOrder[name] || len(orders) > 0):
			w.orderArguments(n, orders)
		default:
			// Rows that tie in the ORDER BY are in one frame, so nothing may be added
			// to it. An order of the arguments would sort every frame.
			w.serial = true
		}
	}
}

// orderWindow makes the ORDER BY of a window total.
func (w *orderer) orderWindow(n map[string]any, in *selection) {
	ties, ok := w.ties(in)
	if !ok {
		w.serial = true
		return
	}
	if orders := appendOrders(list(n, "orders"), ties); len(orders) > len(list(n, "orders")) {
		n["orders"] = orders
		w.changed = true
	}
}

// orderArguments orders the rows of a frame as the window does, then by the arguments.
func (w *orderer) orderArguments(n map[string]any, orders []any) {
	have := list(n, "arg_orders")
	if len(have) == 0 {
		have = slices.Clone(orders)
	}
	n["arg_orders"] = appendOrders(have, list(n, "children"))
	w.changed = true
}

// ties returns expressions that are equal for two rows of a SELECT only if the rows are.
func (w *orderer) ties(in *selection) (exprs []any, ok bool) {
	if in == nil {
		return nil, false
	}
	groups := list(in.node, "group_expressions")
	switch {
	case in.node["aggregate_handling"] == "FORCE_AGGREGATES", len(list(in.node, "group_sets")) > 1:
		return nil, false
	case len(groups) > 0:
		return w.groups(in, groups)
	case aggregates(in.node):
		return nil, true // one row
	}
	return w.rows(in.node["from_table"])
}

// groups returns the expressions of a GROUP BY.
func (w *orderer) groups(in *selection, groups []any) (exprs []any, ok bool) {
	selected := list(in.node, "select_list")
	for _, g := range groups {
		m, _ := g.(map[string]any)
		switch m["class"] {
		case "CONSTANT": // a position
			value, _ := m["value"].(map[string]any)
			i, err := strconv.Atoi(fmt.Sprint(value["value"]))
			if err != nil || i < 1 || i > len(selected) {
				return nil, false
			}
			if m, _ = selected[i-1].(map[string]any); contains(m, func(m map[string]any) bool { return m["class"] == "STAR" }) {
				return nil, false
			}
			m = clone(m)
			m["alias"] = ""
		case "COLUMN_REF":
			if names := list(m, "column_names"); len(names) == 1 && slices.ContainsFunc(selected, func(x any) bool {
				sel, _ := x.(map[string]any)
				return strings.EqualFold(text(sel, "alias"), fmt.Sprint(names[0]))
			}) {
				return nil, false // a column or an expression of the result
			}
		}
		exprs = append(exprs, m)
	}
	return exprs, true
}

// rows returns the tables of a FROM clause as values: DuckDB takes the name of a table
// for a struct of its columns, unless a column has that name.
func (w *orderer) rows(from any) (exprs []any, ok bool) {
	m, _ := from.(map[string]any)
	name := text(m, "alias")
	switch m["type"] {
	case "EMPTY":
		return nil, true
	case "JOIN":
		left, ok1 := w.rows(m["left"])
		if m["join_type"] == "SEMI" || m["join_type"] == "ANTI" {
			return left, ok1
		}
		right, ok2 := w.rows(m["right"])
		return append(left, right...), ok1 && ok2
	case "BASE_TABLE":
		if name == "" {
			name = text(m, "table_name")
		}
	case "SUBQUERY":
		if name == "" {
			for w.aliases++; w.reserved[fmt.Sprintf("rows%d", w.aliases)]; w.aliases++ {
			}
			name = fmt.Sprintf("rows%d", w.aliases)
			m["alias"] = name
		}
	}
	if name == "" || w.reserved[strings.ToLower(name)] {
		return nil, false
	}
	return []any{expr("COLUMN_REF", "COLUMN_REF", "column_names", []any{name})}, true
}

// breakTies makes the ORDER BY of a node total, up to rows that are equal.
func (w *orderer) breakTies(node map[string]any) {
	by := modifier(node, "ORDER_MODIFIER")
	orders := list(by, "orders")
	if slices.ContainsFunc(orders, func(o any) bool { return isStar(o.(map[string]any)["expression"]) }) {
		return // ORDER BY ALL
	}
	first := node
	for first["type"] != "SELECT_NODE" {
		left, ok := first["left"].(map[string]any)
		if !ok {
			w.serial = true
			return
		}
		first = left
	}
	var ties []any
	selected := list(first, "select_list")
	switch starred := contains(selected, func(m map[string]any) bool { return m["class"] == "STAR" }); {
	case !starred:
		for i := range selected {
			ties = append(ties, expr("CONSTANT", "VALUE_CONSTANT", "value", map[string]any{
				"type": map[string]any{"id": "INTEGER", "type_info": nil}, "is_null": false, "value": i + 1,
			}))
		}
	case node["type"] == "SELECT_NODE" && modifier(node, "DISTINCT_MODIFIER") == nil:
		var ok bool
		if ties, ok = w.ties(&selection{node: node}); !ok {
			w.serial = true
			return
		}
	default:
		w.serial = true
		return
	}
	for _, t := range ties {
		orders = append(orders, order(t))
	}
	by["orders"] = orders
	w.changed = true
}

// appendOrders adds expressions to an ORDER BY, except constants and those it has.
func appendOrders(orders, exprs []any) []any {
	orders = slices.Clone(orders)
	var have [][]byte
	for _, o := range orders {
		m, _ := o.(map[string]any)
		have = append(have, withoutPlaces(m["expression"]))
	}
	for _, e := range exprs {
		m, _ := e.(map[string]any)
		key := withoutPlaces(e)
		if m["class"] == "CONSTANT" || contains(e, func(m map[string]any) bool { return m["class"] == "STAR" }) ||
			slices.ContainsFunc(have, func(b []byte) bool { return bytes.Equal(b, key) }) {
			continue
		}
		have = append(have, key)
		orders = append(orders, order(clone(m)))
	}
	return orders
}

func order(expression any) map[string]any {
	return map[string]any{"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": expression}
}

// rowByRow reports whether a query filters and computes the rows of one table, which keep
// their order.
func rowByRow(node map[string]any) bool {
	from, _ := node["from_table"].(map[string]any)
	ctes, _ := node["cte_map"].(map[string]any)
	return node["type"] == "SELECT_NODE" && from["type"] == "BASE_TABLE" && len(list(node, "modifiers")) == 0 &&
		len(list(ctes, "map")) == 0 && len(list(node, "group_expressions")) == 0 && node["aggregate_handling"] == "STANDARD_HANDLING" &&
		!contains(node, func(m map[string]any) bool { return m["class"] == "WINDOW" || m["class"] == "SUBQUERY" })
}

// columnsOf returns the names of the columns of the session's tables and views.
func (s *session) columnsOf(ctx context.Context) (names []string, err error) {
	err = s.each(ctx, "SELECT DISTINCT column_name FROM duckdb_columns() WHERE NOT internal", func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}
