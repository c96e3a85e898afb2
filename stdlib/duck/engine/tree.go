package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// parse returns DuckDB's parse tree of a query, or nil if DuckDB cannot give one.
func (s *session) parse(ctx context.Context, query string) (map[string]any, error) {
	var doc string
	if err := s.one(ctx, "SELECT CAST(json_serialize_sql("+quote(query)+"::VARCHAR) AS VARCHAR)", &doc); err != nil {
		return nil, fmt.Errorf("parse a query: %w", err)
	}
	return decodeTree(doc)
}

func decodeTree(doc string) (map[string]any, error) {
	var tree map[string]any
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber() // numbers of 64 bits
	if err := d.Decode(&tree); err != nil {
		return nil, fmt.Errorf("parse a query: %w", err)
	}
	if tree["error"] == true {
		return nil, nil
	}
	return tree, nil
}

// each calls f for every object of a tree.
func each(n any, f func(map[string]any)) {
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			each(x, f)
		}
	case map[string]any:
		f(n)
		for _, x := range n {
			each(x, f)
		}
	}
}

func contains(n any, f func(map[string]any) bool) (found bool) {
	each(n, func(m map[string]any) { found = found || f(m) })
	return found
}

// aggregates reports whether a SELECT aggregates, outside of its subqueries.
func aggregates(node map[string]any) bool {
	var look func(n any) bool
	look = func(n any) bool {
		switch n := n.(type) {
		case []any:
			return slices.ContainsFunc(n, look)
		case map[string]any:
			if n["type"] == "SELECT_NODE" {
				return false
			}
			name := strings.ToLower(text(n, "function_name"))
			if n["class"] == "FUNCTION" && (orderFree[name] || anyOrder[name] || extremes[name] || ownOrder[name] || floatMacros[name] || name == "reservoir_quantile") {
				return true
			}
			for _, x := range n {
				if look(x) {
					return true
				}
			}
		}
		return false
	}
	return look(node["select_list"]) || look(node["having"]) || look(node["qualify"])
}

func isStar(n any) bool {
	m, _ := n.(map[string]any)
	return m["class"] == "STAR"
}

// topNode returns the outermost node of a query.
func topNode(tree map[string]any) map[string]any {
	statements := list(tree, "statements")
	if len(statements) == 0 {
		return nil
	}
	statement, _ := statements[0].(map[string]any)
	node, _ := statement["node"].(map[string]any)
	return node
}

// modifier returns the modifier of a node whose type begins with a text, or nil.
func modifier(node map[string]any, typ string) map[string]any {
	for _, x := range list(node, "modifiers") {
		if m, _ := x.(map[string]any); strings.HasPrefix(text(m, "type"), typ) {
			return m
		}
	}
	return nil
}

// distinctOn returns the expressions of DISTINCT ON.
func distinctOn(node map[string]any) []any {
	return list(modifier(node, "DISTINCT_MODIFIER"), "distinct_on_targets")
}

func list(m map[string]any, key string) []any {
	l, _ := m[key].([]any)
	return l
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// noPlace is DuckDB's location of what is not in the text.
const noPlace = json.Number("18446744073709551615")

func expr(class, typ, key string, value any) map[string]any {
	return map[string]any{"class": class, "type": typ, "alias": "", "query_location": noPlace, key: value}
}

// withoutPlaces encodes an expression so that equal ones have the same text.
func withoutPlaces(n any) []byte {
	b, err := json.Marshal(n)
	if err != nil {
		return nil // the tree came from JSON
	}
	var c any
	if json.Unmarshal(b, &c) != nil {
		return nil
	}
	each(c, func(m map[string]any) { delete(m, "query_location"); delete(m, "alias") })
	b, _ = json.Marshal(c)
	return b
}

func clone(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// maxText is how long a constant text may be, in characters.
const maxText = 10e6

// textSize returns a lower bound of the length of an expression's text: 0 unless it is
// constant.
func textSize(n any) float64 {
	m, _ := n.(map[string]any)
	args := list(m, "children")
	switch name := strings.ToLower(text(m, "function_name")); {
	case m["class"] == "CONSTANT":
		value, _ := m["value"].(map[string]any)
		s, _ := value["value"].(string)
		return float64(len(s))
	case name == "repeat" && len(args) == 2:
		return textSize(args[0]) * constant(args[1])
	case (name == "lpad" || name == "rpad") && len(args) > 1:
		return constant(args[1])
	case name == "||" || name == "concat":
		var sum float64
		for _, a := range args {
			sum += textSize(a)
		}
		return sum
	}
	return 0
}

// constant returns a constant number, or 0.
func constant(n any) float64 {
	m, _ := n.(map[string]any)
	value, _ := m["value"].(map[string]any)
	number, _ := value["value"].(json.Number)
	f, err := number.Float64()
	if err != nil {
		return 0
	}
	return f
}
