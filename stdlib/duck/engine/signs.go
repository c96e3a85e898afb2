package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/duck"
)

// 0.0 and -0.0 are equal, and DuckDB keeps the one that it saw first: as a group, as a
// DISTINCT row, as a minimum. No input has -0.0 and no result keeps it, so the sign only
// shows if a query computes -0.0, keeps one of equal floats, and then makes something else of
// it, such as text. Such a query runs on one thread.

// What is another value for -0.0 than for 0.0.
var showsSign = set("/", "||", "^", "**", "array_to_json", "atan2", "concat", "concat_ws", "copysign", "divide", "fdiv", "format",
	"group_concat", "hash", "json_array", "json_object", "json_quote", "listagg", "md5", "md5_number", "nextafter", "pow", "power", "printf",
	"row_to_json", "sha1", "sha256", "signbit", "string_agg", "to_base", "to_json")

// Aggregates that return one of their values, or some in the order of equal ones.
var keepsOne = set("any_value", "arbitrary", "arg_max", "arg_max_null", "arg_max_nulls_last", "arg_min", "arg_min_null", "arg_min_nulls_last",
	"argmax", "argmin", "array_agg", "first", "first_value", "group_concat", "histogram", "histogram_exact", "last", "last_value", "list",
	"listagg", "max", "max_by", "median", "min", "min_by", "mode", "nth_value", "approx_top_k", "quantile", "quantile_cont",
	"quantile_disc", "string_agg")

// showsSigns reports whether the sign of a zero that the query computes may show in its
// result.
func (s *session) showsSigns(ctx context.Context, tree map[string]any) (bool, error) {
	shows := contains(tree, func(m map[string]any) bool {
		to, _ := m["cast_type"].(map[string]any)
		return m["class"] == "FUNCTION" && showsSign[strings.ToLower(text(m, "function_name"))] ||
			m["class"] == "CAST" && !slices.Contains([]any{"DOUBLE", "FLOAT", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT",
				"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "DECIMAL", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}, to["id"])
	})
	if !shows {
		return false, nil
	}
	f := signFinder{s: s, ctx: ctx}
	f.visit(tree, nil, []any{})
	return f.found, f.err
}

type signFinder struct {
	s     *session
	ctx   context.Context
	found bool
	err   error
}

// visit looks at every node of a query. in is the SELECT around n, and ctes are those that it
// sees.
func (f *signFinder) visit(n any, in map[string]any, ctes []any) {
	if f.found || f.err != nil {
		return
	}
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			f.visit(x, in, ctes)
		}
	case map[string]any:
		if all, _ := n["cte_map"].(map[string]any); len(list(all, "map")) > 0 {
			ctes = append(slices.Clone(ctes), list(all, "map")...)
		}
		switch {
		case n["type"] == "SELECT_NODE":
			in = n
			f.floats(in, ctes, append(f.groups(in), distinctOn(in)...))
			if d := modifier(in, "DISTINCT_MODIFIER"); d != nil && len(distinctOn(in)) == 0 {
				f.node(in, ctes)
			}
		case n["type"] == "SET_OPERATION_NODE" && (n["setop_all"] != true || n["setop_type"] != "UNION"):
			f.node(n, ctes)
		case n["class"] == "WINDOW":
			var keys []any
			for _, o := range append(list(n, "orders"), list(n, "arg_orders")...) {
				m, _ := o.(map[string]any)
				keys = append(keys, m["expression"])
			}
			keys = append(keys, list(n, "partitions")...)
			if keepsOne[strings.ToLower(text(n, "function_name"))] {
				keys = append(keys, list(n, "children")...)
			}
			f.floats(in, ctes, keys)
		case n["class"] == "FUNCTION" && keepsOne[strings.ToLower(text(n, "function_name"))]:
			f.floats(in, ctes, list(n, "children"))
		}
		for _, k := range sortedNames(n) {
			f.visit(n[k], in, ctes)
		}
	}
}

// groups returns the expressions that a SELECT groups by.
func (f *signFinder) groups(in map[string]any) (keys []any) {
	selected := list(in, "select_list")
	if in["aggregate_handling"] == "FORCE_AGGREGATES" { // GROUP BY ALL
		for _, x := range selected {
			if m, _ := x.(map[string]any); !aggregates(map[string]any{"select_list": m}) {
				keys = append(keys, x)
			}
		}
		return keys
	}
	for _, g := range list(in, "group_expressions") {
		m, _ := g.(map[string]any)
		names := list(m, "column_names")
		for i, x := range selected {
			item, _ := x.(map[string]any)
			value, _ := m["value"].(map[string]any)
			position := m["class"] == "CONSTANT" && fmt.Sprint(value["value"]) == strconv.Itoa(i+1)
			if position || len(names) == 1 && item["class"] != "COLUMN_REF" && strings.EqualFold(text(item, "alias"), fmt.Sprint(names[0])) {
				keys = append(keys, x) // a column of that name would be the group instead, so both are looked at
			}
		}
		if m["class"] != "CONSTANT" {
			keys = append(keys, g)
		}
	}
	return keys
}

// floats looks for computed floats among expressions of a SELECT.
func (f *signFinder) floats(in map[string]any, ctes, exprs []any) {
	if in == nil {
		return
	}
	from, _ := in["from_table"].(map[string]any)
	plain := !contains(from, func(m map[string]any) bool { return m["type"] == "SUBQUERY" }) && len(ctes) == 0
	for _, e := range exprs {
		m, _ := e.(map[string]any)
		if m["class"] == "CONSTANT" || m["class"] == "STAR" && plain || m["class"] == "COLUMN_REF" && plain {
			continue // an input has no -0.0
		}
		one := clone(in)
		m = clone(m)
		m["alias"] = ""
		one["select_list"] = []any{m}
		one["where_clause"], one["having"], one["qualify"] = nil, nil, nil
		one["modifiers"], one["group_expressions"], one["group_sets"] = []any{}, []any{}, []any{}
		one["aggregate_handling"] = "STANDARD_HANDLING"
		f.node(one, ctes)
	}
}

// node looks for floats among the columns of a query. What cannot be described by itself,
// such as a correlated subquery, may have some.
func (f *signFinder) node(n map[string]any, ctes []any) {
	if f.found || f.err != nil {
		return
	}
	n = clone(n)
	n["cte_map"] = map[string]any{"map": ctes}
	doc, err := json.Marshal(map[string]any{"error": false, "statements": []any{map[string]any{"node": n, "named_param_map": []any{}}}})
	if err != nil {
		f.err = fmt.Errorf("type a part of a query: %w", err)
		return
	}
	var sql string
	if f.s.one(f.ctx, "SELECT json_deserialize_sql("+quote(string(doc))+"::JSON)", &sql) != nil {
		f.found, f.err = true, context.Cause(f.ctx)
		return
	}
	cols, err := f.s.describe(f.ctx, sql)
	if err != nil {
		f.found, f.err = true, context.Cause(f.ctx)
		return
	}
	f.found = slices.ContainsFunc(cols, func(c duck.Column) bool {
		return strings.Contains(c.Type, "DOUBLE") || strings.Contains(c.Type, "FLOAT")
	})
}
