package facts

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A pivot is a PIVOT or an UNPIVOT. DuckDB rewrites both into plain queries, but only when it
// knows the columns of their source, and so does this.
type pivot struct {
	node map[string]any
	// source is the query that gives all columns of the source.
	source *query
}

// Members of the trees that a rewriting makes, which DuckDB's own do not have.
const (
	pivoted   = "tenon_pivoted"   // of a function: it is a value of PIVOT or UNPIVOT
	unpivoted = "tenon_unpivoted" // of a SELECT: the values of UNPIVOT
)

func decodePivot(n map[string]any) *pivot {
	star := map[string]any{"class": "STAR", "type": "STAR", "columns": false}
	return &pivot{n, decodeQuery(selectNode([]any{star}, n["source"], nil))}
}

func selectNode(items []any, from any, groups []any) map[string]any {
	n := map[string]any{"type": "SELECT_NODE", "select_list": items, "from_table": from}
	if len(groups) > 0 {
		n["group_expressions"] = groups
	}
	return n
}

func columnNode(name ...string) map[string]any {
	var all []any
	for _, part := range name {
		all = append(all, part)
	}
	return map[string]any{"class": "COLUMN_REF", "type": "COLUMN_REF", "column_names": all}
}

func functionNode(name string, args []any) map[string]any {
	return map[string]any{"class": "FUNCTION", "type": "FUNCTION", "function_name": name, "children": args}
}

// constantNode wraps a value of an entry.
func constantNode(value any, at any) map[string]any {
	n := map[string]any{"class": "CONSTANT", "type": "VALUE_CONSTANT", "value": value}
	if at != nil {
		n["query_location"] = at
	}
	return n
}

// query returns the plain query for the columns of the source, or nil if it is not known.
func (p *pivot) query(columns []string) *query {
	if len(list(p.node, "unpivot_names")) > 0 {
		return p.long(columns)
	}
	return p.wide(columns)
}

// wide returns PIVOT as a query with an aggregate for each value:
//
//	SELECT id, max(x) FILTER (WHERE g = 1) AS "1" FROM o GROUP BY id
func (p *pivot) wide(columns []string) *query {
	used := map[string]bool{}
	mentioned(p.node["aggregates"], used)
	conditions := []any{nil} // one for each combination of values, with its name beside it
	labels := []string{""}
	for _, x := range list(p.node, "pivots") {
		exprs := list(asObject(x), "pivot_expressions")
		mentioned(exprs, used)
		var next []any
		var named []string
		for i, c := range conditions {
			for _, e := range list(asObject(x), "entries") {
				values := list(asObject(e), "values")
				if len(values) != len(exprs) || len(values) == 0 {
					return nil // IN (SELECT ...) and the like
				}
				label := text(asObject(e), "alias")
				is, label2 := c, ""
				for k, v := range values {
					at := asObject(exprs[k])["query_location"]
					is = both(is, map[string]any{"class": "COMPARISON", "type": "COMPARE_EQUAL", "left": exprs[k], "right": constantNode(v, at)})
					label2 = joined(label2, fmt.Sprint(asObject(v)["value"]))
				}
				next = append(next, is)
				named = append(named, joined(labels[i], cmp.Or(label, label2)))
			}
		}
		conditions, labels = next, named
	}
	groups := names(p.node, "groups")
	if len(groups) == 0 {
		groups = slices.DeleteFunc(slices.Clone(columns), func(c string) bool { return used[strings.ToLower(c)] })
	}
	var items, by []any
	for _, g := range groups {
		c := locatedColumn(p.node, []string{g})
		items, by = append(items, c), append(by, c)
	}
	aggregates := list(p.node, "aggregates")
	for i, c := range conditions {
		for _, x := range aggregates {
			if text(asObject(x), "class") != "FUNCTION" || c == nil {
				return nil
			}
			f := maps.Clone(asObject(x))
			name := labels[i]
			switch alias := text(f, "alias"); {
			case alias != "":
				name += "_" + alias
			case len(aggregates) > 1:
				name = "" // DuckDB adds the text of the aggregate
			}
			f["filter"], f["alias"], f[pivoted] = both(f["filter"], c), name, true
			items = append(items, f)
		}
	}
	return decodeQuery(selectNode(items, p.node["source"], by))
}

// long returns UNPIVOT as a query that takes lists apart, whose rows with nulls are dropped:
//
//	SELECT id, unnest(['x', 'y']) AS name, unnest([x, y]) AS value FROM o
func (p *pivot) long(columns []string) *query {
	pivots := list(p.node, "pivots")
	if len(pivots) != 1 {
		return nil
	}
	values := names(p.node, "unpivot_names")
	lists := make([][]any, len(values))
	var labels []any
	used := map[string]bool{}
	for _, x := range list(asObject(pivots[0]), "entries") {
		of := list(asObject(x), "values")
		if len(of) != len(values) {
			return nil // COLUMNS(...) or an expression
		}
		label := text(asObject(x), "alias")
		all := ""
		for i, v := range of {
			name := text(asObject(v), "value")
			used[strings.ToLower(name)] = true
			lists[i] = append(lists[i], columnNode(name))
			all = joined(all, name)
		}
		text := map[string]any{"type": map[string]any{"id": "VARCHAR"}, "value": cmp.Or(label, all)}
		labels = append(labels, constantNode(text, nil))
	}
	var items []any
	for _, c := range columns {
		if !used[strings.ToLower(c)] {
			items = append(items, columnNode(c))
		}
	}
	add := func(name string, of []any) {
		f := functionNode("unnest", []any{functionNode("list_value", of)})
		f["alias"], f[pivoted] = name, true
		if at, ok := p.node["query_location"]; ok {
			f["query_location"] = at
		}
		items = append(items, f)
	}
	for _, name := range names(asObject(pivots[0]), "unpivot_names") {
		add(name, labels)
	}
	for i, name := range values {
		add(name, lists[i])
	}
	n := selectNode(items, p.node["source"], nil)
	if p.node["include_nulls"] != true {
		n[unpivoted] = items[len(items)-len(values):]
	}
	return decodeQuery(n)
}

func both(a, b any) any {
	if a == nil {
		return b
	}
	return map[string]any{"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "children": []any{a, b}}
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "_" + b
}

// mentioned collects the names of columns in a part of a tree, in lower case.
func mentioned(n any, to map[string]bool) {
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			mentioned(x, to)
		}
	case map[string]any:
		if text(n, "class") == "COLUMN_REF" {
			for _, name := range names(n, "column_names") {
				to[strings.ToLower(name)] = true
			}
		}
		for _, x := range n {
			mentioned(x, to)
		}
	}
}
