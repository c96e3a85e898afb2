package engine

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// comparisons finds where a query, which [Checker.Describe] has accepted, compares a
// column of one table with a column. It leaves out columns of subqueries, because only
// the schemas of tables are known.
func comparisons(tree map[string]any, tables map[string]ir.Schema) []duck.Comparison {
	w := comparisonFinder{tables: tables}
	w.node(tree, map[string]string{})
	return w.found
}

type comparisonFinder struct {
	tables map[string]ir.Schema
	found  []duck.Comparison
}

// node visits DuckDB's parse tree. scope maps the names that a FROM clause gives
// to input tables.
func (w *comparisonFinder) node(n any, scope map[string]string) {
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			w.node(x, scope)
		}
	case map[string]any:
		if from, ok := n["from_table"]; ok {
			scope = w.scope(from)
		}
		w.comparison(n, scope)
		w.using(n)
		for _, k := range sortedNames(n) {
			w.node(n[k], scope)
		}
	}
}

func sortedNames(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// scope collects the base tables below a FROM clause, not those of subqueries.
func (w *comparisonFinder) scope(from any) map[string]string {
	scope := map[string]string{}
	var collect func(n any)
	collect = func(n any) {
		m, ok := n.(map[string]any)
		if !ok {
			return
		}
		switch m["type"] {
		case "BASE_TABLE":
			name, _ := m["table_name"].(string)
			alias, _ := m["alias"].(string)
			if alias == "" {
				alias = name
			}
			if input, ok := w.input(name); ok {
				scope[strings.ToLower(alias)] = input
			}
		case "JOIN":
			collect(m["left"])
			collect(m["right"])
		}
	}
	collect(from)
	return scope
}

func (w *comparisonFinder) input(name string) (string, bool) {
	for t := range w.tables {
		if strings.EqualFold(t, name) {
			return t, true
		}
	}
	return "", false
}

func (w *comparisonFinder) comparison(n map[string]any, scope map[string]string) {
	if n["class"] != "COMPARISON" {
		return
	}
	left, ok1 := w.operand(n["left"], scope)
	right, ok2 := w.operand(n["right"], scope)
	if ok1 && ok2 {
		w.found = append(w.found, duck.Comparison{Left: left, Right: right, Offset: offsetOf(n["left"])})
	}
}

func (w *comparisonFinder) operand(n any, scope map[string]string) (duck.Operand, bool) {
	m, ok := n.(map[string]any)
	if !ok || m["class"] != "COLUMN_REF" {
		return duck.Operand{}, false
	}
	var names []string
	list, _ := m["column_names"].([]any)
	for _, x := range list {
		s, _ := x.(string)
		names = append(names, s)
	}
	switch len(names) {
	case 1:
		var found []duck.Operand
		for _, table := range scope {
			if o, ok := w.column(table, names[0]); ok {
				found = append(found, o)
			}
		}
		if len(found) == 1 {
			return found[0], true
		}
	case 2:
		if table, ok := scope[strings.ToLower(names[0])]; ok {
			return w.column(table, names[1])
		}
	}
	return duck.Operand{}, false
}

func (w *comparisonFinder) column(table, name string) (duck.Operand, bool) {
	for _, c := range w.tables[table] {
		if strings.EqualFold(c.Name, name) {
			return duck.Operand{Table: table, Column: c.Name, Type: c.Type}, true
		}
	}
	return duck.Operand{}, false
}

// using compares what JOIN ... USING names on both sides.
func (w *comparisonFinder) using(n map[string]any) {
	columns, _ := n["using_columns"].([]any)
	if n["type"] != "JOIN" || len(columns) == 0 {
		return
	}
	left, right := w.scope(n["left"]), w.scope(n["right"])
	for _, c := range columns {
		name, _ := c.(string)
		for _, l := range left {
			for _, r := range right {
				lo, ok1 := w.column(l, name)
				ro, ok2 := w.column(r, name)
				if ok1 && ok2 {
					w.found = append(w.found, duck.Comparison{Left: lo, Right: ro, Offset: offsetOf(n)})
				}
			}
		}
	}
}

// offsetOf returns the byte of the query at which an expression begins, or -1.
func offsetOf(n any) int {
	m, _ := n.(map[string]any)
	at, _ := m["query_location"].(json.Number)
	if i, err := at.Int64(); err == nil {
		return int(i)
	}
	return -1
}
