package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// misfits finds texts in a query that DuckDB would fail to convert in the first row: in
// casts, and in comparisons with a column of another type. It leaves out columns of
// subqueries, because only the schemas of tables are known.
func (s *session) misfits(ctx context.Context, tree map[string]any, tables map[string]ir.Schema) ([]duck.Misfit, error) {
	w := literalFinder{comparisonFinder: comparisonFinder{tables: tables}}
	w.node(tree, map[string]string{})
	var found []duck.Misfit
	for _, t := range w.texts {
		var fails bool
		if err := s.one(ctx, fmt.Sprintf("SELECT TRY(%s) IS NULL", t.sql), &fails); ctx.Err() != nil {
			return nil, fmt.Errorf("convert a text of a query: %w", err)
		} else if err != nil { // it looked at the constant before there was a row
			fails = true
		}
		if fails && !slices.Contains(found, t.Misfit) {
			found = append(found, t.Misfit)
		}
	}
	failing, err := s.failing(ctx, tree, found)
	return append(found, failing...), err
}

type literalFinder struct {
	comparisonFinder
	texts []tried
}

// A tried text is a misfit if the expression that uses it fails or is null.
type tried struct {
	duck.Misfit
	sql string
}

func (w *literalFinder) node(n any, scope map[string]string) {
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
			if typ := castType(to); typ != "" && n["try_cast"] != true {
				w.try(n["child"], typ)
			}
		case "FUNCTION":
			w.called(text(n, "function_name"), list(n, "children"))
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

// castType returns the type of a cast that is tried, or "".
func castType(to map[string]any) string {
	info, _ := to["type_info"].(map[string]any)
	switch id := text(to, "id"); {
	case id == "DECIMAL" && info != nil:
		return fmt.Sprintf("DECIMAL(%v,%v)", info["width"], info["scale"])
	case triedTypes[id] && info == nil:
		return id
	}
	return ""
}

// unitFunctions take a unit of time first.
var unitFunctions = set("date_part", "datepart", "date_trunc", "datetrunc", "date_diff", "datediff", "date_sub", "datesub")

// specialUnits are those that date_part does not take for every type.
var specialUnits = set("epoch", "julian", "nanosecond", "nanoseconds")

// called tries texts that a function only takes if they are of some form.
func (w *literalFinder) called(name string, args []any) {
	if len(args) < 2 {
		return
	}
	first, isText := textConstant(args[0])
	second, isSecond := textConstant(args[1])
	switch {
	case unitFunctions[name] && isText && !specialUnits[strings.ToLower(first)]:
		w.attempt(args[0], first, duck.UnitOfTime, fmt.Sprintf("date_part(%s, TIMESTAMP '2000-01-01')", quote(first)))
	case name == "strptime" && isText && isSecond:
		w.attempt(args[0], first, "time in the format "+quote(second), fmt.Sprintf("strptime(%s, %s)", quote(first), quote(second)))
	case name == "timezone" && isText:
		w.attempt(args[0], first, "time zone", fmt.Sprintf("timezone(%s, TIMESTAMP '2024-01-01')", quote(first)))
	case strings.HasPrefix(name, "regexp_") && isSecond:
		w.attempt(args[1], second, "regular expression", fmt.Sprintf("regexp_replace('', %s, '')", quote(second)))
	}
}

func (w *literalFinder) compared(scope map[string]string, column any, others ...any) {
	o, ok := w.operand(column, scope)
	if !ok || !triedTypes[ir.Types[o.Type]] {
		return
	}
	for _, x := range others {
		w.try(x, ir.Types[o.Type])
	}
}

func (w *literalFinder) try(n any, typ string) {
	s, ok := textConstant(n)
	if !ok && strings.HasSuffix(typ, "INT") {
		s, ok = wholeConstant(n)
	}
	if ok {
		w.attempt(n, s, typ, fmt.Sprintf("CAST(%s AS %s)", quote(s), typ))
	}
}

func (w *literalFinder) attempt(n any, s, typ, sql string) {
	w.texts = append(w.texts, tried{duck.Misfit{Text: s, Type: typ, Offset: offsetOf(n)}, sql})
}

func textConstant(n any) (string, bool) {
	value, typ := constantOf(n)
	s, ok := value.(string)
	return s, ok && typ == "VARCHAR"
}

// wholeConstant returns the digits of a whole number.
func wholeConstant(n any) (string, bool) {
	value, typ := constantOf(n)
	number, ok := value.(json.Number)
	return number.String(), ok && triedTypes[typ] && typ != "FLOAT" && typ != "DOUBLE"
}

func constantOf(n any) (value any, typ string) {
	m, _ := n.(map[string]any)
	if m["class"] != "CONSTANT" {
		return nil, ""
	}
	v, _ := m["value"].(map[string]any)
	of, _ := v["type"].(map[string]any)
	return v["value"], text(of, "id")
}
