package lineage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/facts"
)

// A Change says which columns two forms of a query compute differently.
type Change struct {
	Table     string   `json:"table"`
	Added     []string `json:"added,omitempty"`
	Removed   []string `json:"removed,omitempty"`
	Changed   []string `json:"changed,omitempty"`
	Unchanged []string `json:"unchanged,omitempty"`
	// Rows means that the query may select other rows, so that every column changes.
	Rows bool `json:"rows,omitempty"`
	// Unknown means that one of the two queries cannot be typed by this version of tenon.
	Unknown bool `json:"unknown,omitempty"`
	// Readers are the models and deployments that read a column that differs.
	Readers []string `json:"readers,omitempty"`
}

// Same reports whether no column differs.
func (c *Change) Same() bool {
	return !c.Unknown && len(c.Added) == 0 && len(c.Removed) == 0 && len(c.Changed) == 0
}

// Changed compares the table that the query of an entity makes with its later form, or
// returns nil if either has no query. It compares DuckDB's
// trees of the queries, so spaces, comments and the case of keywords are no difference.
func Changed(before, after *Lineage, was, now string) *Change {
	was, now = dotted(was), dotted(now)
	old, t := before.byName[was], after.byName[now]
	if old == nil || t == nil || old.query == "" || t.query == "" {
		return nil
	}
	c := &Change{Table: now}
	if old.tree == nil || t.tree == nil {
		c.Unknown = true
		c.Readers = after.dependents(now, nil)
		return c
	}
	a, b := selected(old.tree, old.declared, before.read(old)), selected(t.tree, t.declared, after.read(t))
	bound := !reflect.DeepEqual(old.Rows, t.Rows) || old.RowsPartial != t.RowsPartial
	same := map[string]bool{}
	for _, name := range t.declared {
		_, ok := a.items[name]
		same[name] = ok && a.items[name] == b.items[name]
	}
	c.Rows = bound || a.rest != b.rest
	for _, name := range slices.Concat(t.declared, old.declared) {
		if _, ok := b.items[name]; ok && same[name] {
			continue
		}
		c.Rows = c.Rows || a.decides[name] || b.decides[name]
	}
	// An item may name an earlier one by its alias, and that one another.
	for range t.declared {
		for _, name := range t.declared {
			for _, other := range t.declared {
				if other != name && !same[other] && b.names[name][strings.ToLower(other)] {
					same[name] = false
				}
			}
			c.Rows = c.Rows || !same[name] && (a.decides[name] || b.decides[name])
		}
	}
	for _, name := range t.declared {
		former, column := old.column(name), t.column(name)
		switch _, ok := a.items[name]; {
		case !ok:
			c.Added = append(c.Added, name)
		case c.Rows || !same[name] || !reflect.DeepEqual(former.declared(), column.declared()):
			c.Changed = append(c.Changed, name)
		default:
			c.Unchanged = append(c.Unchanged, name)
		}
	}
	for _, name := range old.declared {
		if _, ok := b.items[name]; !ok {
			c.Removed = append(c.Removed, name)
		}
	}
	if !c.Same() {
		differ := slices.Concat(c.Added, c.Changed)
		if len(differ) > 0 {
			c.Readers = after.dependents(now, differ)
		}
		if len(c.Removed) > 0 {
			c.Readers = append(c.Readers, before.dependents(was, c.Removed)...)
		}
		slices.Sort(c.Readers)
		c.Readers = slices.Compact(c.Readers)
	}
	return c
}

// declared returns what of a column does not depend on where it is written.
func (c *Column) declared() *Column {
	if c == nil {
		return nil
	}
	return &Column{Name: c.Name, Type: c.Type, From: c.From, Unknown: c.Unknown}
}

// read returns the columns that a table reads, in lower case.
func (l *Lineage) read(t *Table) map[string]bool {
	all := map[string]bool{}
	for _, name := range t.Reads {
		if from := l.byName[name]; from != nil {
			for _, c := range from.Columns {
				all[strings.ToLower(c.Name)] = true
			}
		}
	}
	return all
}

// A selection is a query, divided into what each column is and the rest. Both are texts of
// the tree without positions.
type selection struct {
	items map[string]string          // by column
	names map[string]map[string]bool // that an item mentions, by column
	rest  string
	// decides lists the columns whose expression also decides which rows there are, for
	// example as a group.
	decides map[string]bool
}

// selected divides a query. Queries that are not one SELECT are all rest. A name of an
// input's column is not that of an item, if the query reads its inputs directly.
func selected(tree []byte, columns []string, inputs map[string]bool) *selection {
	s := &selection{items: map[string]string{}, names: map[string]map[string]bool{}, decides: map[string]bool{}}
	for _, name := range columns {
		s.items[name] = ""
	}
	var doc any
	d := json.NewDecoder(bytes.NewReader(tree))
	d.UseNumber()
	if d.Decode(&doc) != nil {
		s.rest = string(tree)
		return s
	}
	doc = without(doc)
	node := nodeOf(doc)
	items, _ := node["select_list"].([]any)
	if node["type"] != "SELECT_NODE" || len(items) != len(columns) || slices.ContainsFunc(items, expands) {
		s.rest = compact(doc)
		return s
	}
	if find(node["from_table"], func(m map[string]any) bool { return m["type"] == "SUBQUERY" }) || len(listOf(node["cte_map"], "map")) > 0 {
		inputs = nil
	}
	delete(node, "select_list")
	mentions := mentioned(node, inputs)
	numbers := append(numbered(listOf(node, "group_expressions")), numbered(listOf(node, "modifiers"))...)
	distinct := slices.ContainsFunc(listOf(node, "modifiers"), func(m any) bool {
		return textOfNode(m, "type") == "DISTINCT_MODIFIER" && len(listOf(m, "distinct_on_targets")) == 0
	})
	for i, item := range items {
		name := columns[i]
		s.items[name], s.names[name] = compact(item), mentioned(item, inputs)
		s.decides[name] = distinct || mentions[strings.ToLower(name)] || slices.Contains(numbers, strconv.Itoa(i+1)) ||
			node["aggregate_handling"] == "FORCE_AGGREGATES" && !aggregated(item) || repeats(item)
	}
	s.rest = compact(doc)
	if len(listOf(node, "group_expressions")) == 0 && slices.ContainsFunc(items, aggregated) {
		s.rest += " in one row"
	}
	return s
}

func listOf(n any, key string) []any {
	m, _ := n.(map[string]any)
	l, _ := m[key].([]any)
	return l
}

func textOfNode(n any, key string) string {
	m, _ := n.(map[string]any)
	t, _ := m[key].(string)
	return t
}

// nodeOf returns the tree of the only query.
func nodeOf(doc any) map[string]any {
	m, _ := doc.(map[string]any)
	statements, _ := m["statements"].([]any)
	if len(statements) != 1 {
		return nil
	}
	m, _ = statements[0].(map[string]any)
	m, _ = m["node"].(map[string]any)
	return m
}

// without returns a tree without positions.
func without(n any) any {
	switch n := n.(type) {
	case []any:
		for i := range n {
			n[i] = without(n[i])
		}
	case map[string]any:
		delete(n, "query_location")
		for k := range n {
			n[k] = without(n[k])
		}
	}
	return n
}

func compact(n any) string {
	b, err := json.Marshal(n)
	if err != nil {
		return fmt.Sprint(n)
	}
	return string(b)
}

// find reports whether some node of a tree satisfies a condition.
func find(n any, is func(map[string]any) bool) bool {
	switch n := n.(type) {
	case []any:
		return slices.ContainsFunc(n, func(x any) bool { return find(x, is) })
	case map[string]any:
		if is(n) {
			return true
		}
		for _, x := range n {
			if find(x, is) {
				return true
			}
		}
	}
	return false
}

// expands reports whether an item stands for several columns.
func expands(item any) bool {
	return find(item, func(m map[string]any) bool { return m["class"] == "STAR" && m["type"] == "STAR" })
}

// aggregated reports whether an item is an aggregate, whose absence would give one row for
// each row of the input.
func aggregated(item any) bool {
	return find(item, func(m map[string]any) bool {
		name, _ := m["function_name"].(string)
		return m["class"] == "FUNCTION" && facts.Aggregate(strings.ToLower(name))
	})
}

// repeats reports whether an item may give several rows for one.
func repeats(item any) bool {
	return find(item, func(m map[string]any) bool {
		name, _ := m["function_name"].(string)
		return m["class"] == "FUNCTION" && strings.Contains(strings.ToLower(name), "unnest")
	})
}

// numbered returns the numbers that expressions in a list are: they stand for items.
func numbered(list []any) (numbers []string) {
	for _, n := range list {
		for _, o := range listOf(n, "orders") {
			numbers = append(numbers, numbered([]any{o.(map[string]any)["expression"]})...)
		}
		if textOfNode(n, "class") == "CONSTANT" {
			value, _ := n.(map[string]any)["value"].(map[string]any)
			numbers = append(numbers, fmt.Sprint(value["value"]))
		}
	}
	return numbers
}

// mentioned returns the unqualified names in a tree, in lower case, that are not names of
// inputs' columns.
func mentioned(n any, inputs map[string]bool) map[string]bool {
	names := map[string]bool{}
	find(n, func(m map[string]any) bool {
		if all, ok := m["column_names"].([]any); ok && m["class"] == "COLUMN_REF" && len(all) > 0 {
			if name, ok := all[0].(string); ok && !inputs[strings.ToLower(name)] {
				names[strings.ToLower(name)] = true
			}
		}
		return false
	})
	return names
}
