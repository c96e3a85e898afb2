package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/duck"
)

// failing finds expressions of constants that DuckDB fails to compute, such as
// make_date(2024, 2, 30). It leaves out those that contain a misfit which is known already,
// and those that may never be needed, such as an arm of a CASE.
func (s *session) failing(ctx context.Context, tree map[string]any, known []duck.Misfit) ([]duck.Misfit, error) {
	w := fixedWalk{known: known}
	w.node(tree)
	if len(w.found) == 0 {
		return nil, nil
	}
	if _, fault, err := s.computes(ctx, w.found, ""); err != nil || fault == nil {
		return nil, err
	}
	var all []duck.Misfit
	for _, n := range w.found {
		m, err := s.smallest(ctx, n)
		if err != nil {
			return nil, err
		}
		if m != nil && !slices.Contains(all, *m) {
			all = append(all, *m)
		}
	}
	return all, nil
}

// smallest returns the smallest part of an expression of constants that fails, or nil if
// it does not fail, or not because of its values.
func (s *session) smallest(ctx context.Context, n any) (*duck.Misfit, error) {
	sql, fault, err := s.computes(ctx, []any{n}, "")
	if err != nil || fault == nil {
		return nil, err
	}
	if _, fault, err := s.computes(ctx, []any{n}, "TRY"); err != nil || fault != nil {
		return nil, err
	}
	w := fixedWalk{}
	w.below(n.(map[string]any))
	for _, part := range w.found {
		if m, err := s.smallest(ctx, part); err != nil || m != nil {
			return m, err
		}
	}
	return &duck.Misfit{Text: sql, Fault: fault.Message, Offset: offsetOf(n)}, nil
}

// computes computes expressions of constants by a function. It returns them as SQL, and what
// DuckDB has against them.
func (s *session) computes(ctx context.Context, exprs []any, function string) (sql string, fault *duck.SQLError, err error) {
	tree, err := s.parse(ctx, "SELECT 1")
	if err != nil {
		return "", nil, err
	}
	unnamed := make([]any, len(exprs))
	for i, n := range exprs {
		m := maps.Clone(n.(map[string]any))
		m["alias"] = ""
		unnamed[i] = m
	}
	topNode(tree)["select_list"] = unnamed
	doc, err := json.Marshal(tree)
	if err != nil {
		return "", nil, fmt.Errorf("compute constants: %w", err)
	}
	if err := s.one(ctx, "SELECT json_deserialize_sql("+quote(string(doc))+"::JSON)", &sql); err != nil {
		return "", nil, fmt.Errorf("compute constants: %w", err)
	}
	sql = strings.TrimPrefix(sql, "SELECT ")
	if err = s.one(ctx, "SELECT length(CAST(row("+function+"("+sql+")) AS VARCHAR))", new(int64)); ctx.Err() != nil {
		return "", nil, ctx.Err()
	}
	errors.As(err, &fault)
	return sql, fault, nil
}

// A fixedWalk looks for the largest expressions of constants.
type fixedWalk struct {
	known []duck.Misfit
	found []any
}

func (w *fixedWalk) node(n any) {
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			w.node(x)
		}
	case map[string]any:
		if !fixed(n) {
			w.below(n)
			return
		}
		known := contains(n, func(m map[string]any) bool {
			return m["class"] == "CONSTANT" && slices.ContainsFunc(w.known, func(k duck.Misfit) bool { return k.Offset >= 0 && k.Offset == offsetOf(m) })
		})
		if !known && contains(n, func(m map[string]any) bool { return m["class"] == "FUNCTION" && !intervals[text(m, "function_name")] }) {
			w.found = append(w.found, n)
		}
	}
}

// below looks at the parts of an expression that are needed whenever it is.
func (w *fixedWalk) below(n map[string]any) {
	switch args := list(n, "children"); {
	case n["class"] == "CASE":
		if checks := list(n, "case_checks"); len(checks) > 0 {
			first, _ := checks[0].(map[string]any)
			w.node(first["when_expr"])
		}
		return
	case n["type"] == "OPERATOR_TRY":
		return
	case n["type"] == "OPERATOR_COALESCE" && len(args) > 0:
		w.node(args[0])
		return
	case n["class"] == "CONJUNCTION" && slices.ContainsFunc(args, fixed): // one may decide alone
		return
	}
	for _, k := range sortedNames(n) {
		w.node(n[k])
	}
}

// intervals lists the functions that INTERVAL 7 DAY is made of, which take every number.
var intervals = set("to_years", "to_quarters", "to_months", "to_weeks", "to_days", "to_hours", "to_minutes", "to_seconds", "to_milliseconds",
	"to_microseconds", "trunc")

// fixed reports whether an expression is made of constants by functions that give the same
// value each time. Functions that make several rows or long texts are left out, and error(),
// which fails on purpose.
func fixed(n any) bool {
	m, _ := n.(map[string]any)
	every := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(k string) bool { return !fixed(m[k]) })
	}
	all := func(key string) bool {
		return !slices.ContainsFunc(list(m, key), func(x any) bool { return !fixed(x) })
	}
	switch m["class"] {
	case "CONSTANT":
		return true
	case "FUNCTION":
		name := strings.ToLower(text(m, "function_name"))
		return len(list(m, "children")) > 0 && all("children") && m["filter"] == nil && !volatile[name] && !tableFunctions[name] && !lengthy[name]
	case "CAST":
		return every("child")
	case "COMPARISON":
		return every("left", "right")
	case "BETWEEN":
		return every("input", "lower", "upper")
	case "OPERATOR", "CONJUNCTION":
		return all("children") && m["type"] != "OPERATOR_TRY"
	}
	return false
}

var lengthy = set("error", "lpad", "rpad", "list_resize", "array_resize", "bar")
