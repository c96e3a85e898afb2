package rowsql

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reference lists all functions, operators and casts that are computed, in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString("| function or operator | arguments | result | admitted |\n|---|---|---|---|\n")
	list := slices.Clone(functions)
	slices.SortStableFunc(list, func(x, y function) int {
		return cmp.Compare(strings.Fields(x.names)[0], strings.Fields(y.names)[0])
	})
	for _, f := range list {
		names := strings.ReplaceAll("`"+strings.Join(strings.Fields(f.names), "`, `")+"`", "|", "\\|")
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", names, strings.ReplaceAll(f.args, " ", ", "), f.result, cmp.Or(f.about, "all"))
	}
	b.WriteString("\n`int` are all integers, `small` those of at most 64 bits, `signed` and `unsigned` those of either kind, `float` FLOAT and DOUBLE, " +
		"and `any` all types that can be compared. Also computed: CASE, COALESCE, AND, OR, NOT, IN, BETWEEN, IS NULL, IS DISTINCT FROM, and comparisons of values of one type.\n")
	b.WriteString("\n| cast from | to |\n|---|---|\n")
	types := slices.SortedFunc(maps.Values(classes), cmp.Compare)
	types = append(types, decimal)
	typeOf := func(c class) sqlType {
		if c == decimal {
			return sqlType{decimal, 18, 3}
		}
		return sqlType{class: c}
	}
	for _, from := range types {
		var to []string
		for _, c := range types {
			if from != c && from != null && conversion(typeOf(from), typeOf(c)) != nil {
				name, _, _ := strings.Cut(typeOf(c).String(), "(")
				to = append(to, name)
			}
		}
		if len(to) > 0 {
			name, _, _ := strings.Cut(typeOf(from).String(), "(")
			fmt.Fprintf(&b, "| %s | %s |\n", name, strings.Join(to, ", "))
		}
	}
	b.WriteString("\nA constant text in its usual form becomes a BOOLEAN, DATE or TIMESTAMP. TRY_CAST is null where CAST fails. A DOUBLE of 1e22 or more is not written as text.\n")
	return b.String()
}
