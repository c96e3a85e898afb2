package facts

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// This file reads parts of DuckDB's tree as JSON has them.

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

// indices returns the whole numbers of a list.
func indices(n any) []int {
	all := []int{}
	l, _ := n.([]any)
	for _, x := range l {
		if x, ok := x.(json.Number); ok {
			i, _ := x.Int64()
			all = append(all, int(i))
		}
	}
	return all
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
