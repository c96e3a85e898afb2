package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// misfits finds texts in a query that DuckDB would fail to convert in the first row: in
// casts, and in comparisons with a column of another type. It leaves out columns of
// subqueries, because only the schemas of tables are known.
func (s *session) misfits(ctx context.Context, tree map[string]any, tables map[string]ir.Schema) ([]duck.Misfit, error) {
	w := literalWalk{comparisonWalk: comparisonWalk{tables: tables}}
	w.node(tree, map[string]string{})
	var found []duck.Misfit
	for _, m := range w.texts {
		var fails bool
		if err := s.one(ctx, fmt.Sprintf("SELECT TRY_CAST(%s AS %s) IS NULL", quote(m.Text), m.Type), &fails); err != nil {
			return nil, fmt.Errorf("convert a text of a query: %w", err)
		}
		if fails && !slices.Contains(found, m) {
			found = append(found, m)
		}
	}
	return found, nil
}

type literalWalk struct {
	comparisonWalk
	texts []duck.Misfit // to try
}

func (w *literalWalk) node(n any, scope map[string]string) {
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			w.node(x, scope)
		}
	case map[string]any:
		if from, ok := n["from_table"]; ok {
			scope = w.scope(from)
		}
		switch n["class"] {
		case "CAST":
			to, _ := n["cast_type"].(map[string]any)
			if id := text(to, "id"); triedTypes[id] && to["type_info"] == nil && n["try_cast"] != true {
				w.try(n["child"], id)
			}
		case "COMPARISON":
			w.compared(scope, n["left"], n["right"])
			w.compared(scope, n["right"], n["left"])
		case "BETWEEN":
			w.compared(scope, n["input"], n["lower"], n["upper"])
		case "OPERATOR":
			if args := list(n, "children"); len(args) > 1 && (n["type"] == "COMPARE_IN" || n["type"] == "COMPARE_NOT_IN") {
				w.compared(scope, args[0], args[1:]...)
			}
		}
		for _, k := range sortedNames(n) {
			w.node(n[k], scope)
		}
	}
}

// triedTypes lists the types, by DuckDB's names in a tree, for which a cast is tried.
var triedTypes = set("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIME", "INTERVAL", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT",
	"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "FLOAT", "DOUBLE")

func (w *literalWalk) compared(scope map[string]string, column any, others ...any) {
	o, ok := w.operand(column, scope)
	if !ok || !triedTypes[ir.Types[o.Type]] {
		return
	}
	for _, x := range others {
		w.try(x, ir.Types[o.Type])
	}
}

func (w *literalWalk) try(n any, typ string) {
	m, _ := n.(map[string]any)
	value, _ := m["value"].(map[string]any)
	of, _ := value["type"].(map[string]any)
	if s, ok := value["value"].(string); ok && m["class"] == "CONSTANT" && text(of, "id") == "VARCHAR" {
		w.texts = append(w.texts, duck.Misfit{Text: s, Type: typ, Offset: offsetOf(n)})
	}
}
