package facts

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// star reads *, COLUMNS(...) and * LIKE '...'.
func (e *expr) star(m map[string]any) {
	e.kind, e.table, e.each = star, text(m, "relation_name"), m["columns"] == true
	for _, x := range names(m, "exclude_list") {
		e.exclude = append(e.exclude, strings.ToLower(x))
	}
	for _, x := range list(m, "qualified_exclude_list") {
		name := strings.ToLower(text(asObject(x), "column"))
		if table := text(asObject(x), "table"); table != "" {
			name = strings.ToLower(table) + "." + name
		}
		e.exclude = append(e.exclude, name)
	}
	e.replace, e.rename = map[string]*expr{}, map[string]string{}
	for _, x := range list(m, "replace_list") {
		e.replace[strings.ToLower(text(asObject(x), "key"))] = decodeExpr(asObject(x)["value"])
	}
	for _, x := range list(m, "rename_list") {
		e.rename[strings.ToLower(text(object(asObject(x), "key"), "column"))] = text(asObject(x), "value")
	}
	if m["expr"] != nil {
		e.only = selection(m["expr"])
	}
}

// patterns are the functions of * LIKE '...' and the like.
var patterns = []string{"~~", "!~~", "regexp_full_match"}

// starLike returns the star of * LIKE '...', or nil.
func starLike(m map[string]any) *expr {
	args := list(m, "children")
	if !slices.Contains(patterns, text(m, "function_name")) || len(args) != 2 || text(asObject(args[0]), "class") != "STAR" || asObject(args[0])["columns"] == true {
		return nil
	}
	e := decodeExpr(args[0])
	e.only = func(name string) (bool, bool) { return holds(m, "", name) }
	return e
}

// A selector tells whether COLUMNS selects a column of that name, or that it does not know.
type selector func(name string) (selected, ok bool)

// selection reads what is between the parentheses of COLUMNS: a regular expression, a list
// of names or a function of a name.
func selection(n any) selector {
	m := asObject(n)
	switch pattern := constantText(n); {
	case pattern != nil:
		re, err := regexp.Compile(*pattern)
		return func(name string) (bool, bool) { return err == nil && re.MatchString(name), err == nil }
	case text(m, "function_name") == "list_value":
		return func(name string) (bool, bool) {
			for _, x := range list(m, "children") {
				t := constantText(x)
				if t == nil {
					return false, false
				}
				if strings.EqualFold(*t, name) {
					return true, true
				}
			}
			return false, true
		}
	case text(m, "function_name") == "list_filter" && len(list(m, "children")) == 2:
		lambda := asObject(list(m, "children")[1])
		params := names(object(lambda, "lhs"), "column_names")
		if len(params) == 1 {
			return func(name string) (bool, bool) { return holds(asObject(lambda["expr"]), params[0], name) }
		}
	}
	return func(string) (bool, bool) { return false, false }
}

// holds computes a condition on the name of a column, which the parameter or a star stands for.
func holds(m map[string]any, param, name string) (is, ok bool) {
	if text(m, "type") == "OPERATOR_NOT" && len(list(m, "children")) == 1 {
		is, ok = holds(asObject(list(m, "children")[0]), param, name)
		return !is, ok
	}
	args := list(m, "children")
	if len(args) != 2 {
		return false, false
	}
	subject, pattern := asObject(args[0]), constantText(args[1])
	if pattern == nil || text(subject, "class") != "STAR" && !slices.Equal(names(subject, "column_names"), []string{param}) {
		return false, false
	}
	matches := func(re string) (bool, bool) {
		r, err := regexp.Compile(re)
		return err == nil && r.MatchString(name), err == nil
	}
	switch text(m, "function_name") {
	case "~~":
		return matches(like(*pattern))
	case "!~~":
		is, ok = matches(like(*pattern))
		return !is, ok
	case "regexp_full_match":
		return matches("^(?:" + *pattern + ")$")
	case "regexp_matches":
		return matches(*pattern)
	case "starts_with", "prefix":
		return strings.HasPrefix(name, *pattern), true
	case "ends_with", "suffix":
		return strings.HasSuffix(name, *pattern), true
	case "contains":
		return strings.Contains(name, *pattern), true
	}
	return false, false
}

// like returns the regular expression of a pattern of LIKE.
func like(pattern string) string {
	return "(?s)^" + strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(pattern)) + "$"
}

// constantText returns the text that a constant is, or nil.
func constantText(n any) *string {
	m := asObject(n)
	if v, ok := object(m, "value")["value"].(string); ok && text(m, "class") == "CONSTANT" {
		return &v
	}
	return nil
}

// each returns the star of COLUMNS(...) in an expression, or nil.
func each(e *expr) *expr {
	if e.kind == star && e.each {
		return e
	}
	for _, x := range slices.Concat(e.args, e.orders, e.partitions) {
		if s := each(x); s != nil {
			return s
		}
	}
	return nil
}

// withColumn returns the expression with a column in the place of each COLUMNS(...).
func (e *expr) withColumn(name []string) *expr {
	return decodeExpr(replaced(e.node, func(m map[string]any) []any {
		if text(m, "class") != "STAR" || m["columns"] != true {
			return nil
		}
		return []any{locatedColumn(m, name)}
	}))
}

// unpacked returns the expression with all columns in the place of *COLUMNS(...).
func (e *expr) unpacked(columns [][]string) *expr {
	return decodeExpr(replaced(e.node, func(m map[string]any) []any {
		if text(m, "type") != "OPERATOR_UNPACK" {
			return nil
		}
		var all []any
		for _, name := range columns {
			all = append(all, locatedColumn(m, name))
		}
		return all
	}))
}

// unpacks reports whether an expression has *COLUMNS(...).
func (e *expr) unpacks() bool {
	return e.typ == "OPERATOR_UNPACK" || slices.ContainsFunc(e.args, (*expr).unpacks)
}

func locatedColumn(m map[string]any, name []string) map[string]any {
	n := columnNode(name...)
	if at, ok := m["query_location"]; ok {
		n["query_location"] = at
	}
	return n
}

// replaced returns a tree with other nodes in the place of some.
func replaced(n any, by func(map[string]any) []any) any {
	switch n := n.(type) {
	case []any:
		var all []any
		for _, x := range n {
			if m, ok := x.(map[string]any); ok {
				if nodes := by(m); nodes != nil {
					all = append(all, nodes...)
					continue
				}
			}
			all = append(all, replaced(x, by))
		}
		return all
	case map[string]any:
		if nodes := by(n); len(nodes) == 1 {
			alias := text(n, "alias")
			m := maps.Clone(asObject(nodes[0]))
			if alias != "" {
				m["alias"] = alias
			}
			return m
		}
		out := make(map[string]any, len(n))
		for k, x := range n {
			out[k] = replaced(x, by)
		}
		return out
	}
	return n
}
