package engine

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Functions that give another result every time, or that depend on when or where a query
// runs.
var volatile = set("age", "ago", "current_catalog", "current_connection_id", "current_database", "current_date", "current_localtime",
	"current_localtimestamp", "current_query", "current_query_id", "current_schema", "current_schemas", "current_setting",
	"current_transaction_id", "currval", "format_type", "gen_random_uuid", "get_block_size", "get_current_time",
	"get_current_timestamp", "getenv", "getvariable", "in_search_path", "nextval", "now", "pg_conf_load_time",
	"pg_get_constraintdef", "pg_get_viewdef", "pg_postmaster_start_time", "pg_sleep", "pg_typeof", "random", "setseed",
	"sleep_ms", "stats", "today", "transaction_timestamp", "txid_current", "uuid", "uuidv4", "uuidv7", "version", "write_log")

// Names that DuckDB takes for functions without parentheses, unless a column has them.
var volatileNames = set("current_catalog", "current_database", "current_date", "current_query", "current_schema", "current_time",
	"current_timestamp", "localtime", "localtimestamp")

// Functions whose result does not depend on the order of a list.
var sorters = set("array_reverse_sort", "array_sort", "list_reverse_sort", "list_sort")

// Table functions that a query may read besides its inputs.
var tableFunctions = set("generate_series", "generate_subscripts", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest")

// Schemas that describe the database.
var catalogs = set("information_schema", "pg_catalog")

const (
	useColumn = "a feature must be the same for the same rows, in training and in serving: take times from a column, and sample with hash()"
	sortFirst = "add ORDER BY with the columns that decide"
)

// unrepeatable finds what makes a query give another result for the same rows, and what
// [session.makeRepeatable] cannot put into an order without knowing which one is meant.
func unrepeatable(tree map[string]any, tables map[string]ir.Schema) []duck.Unrepeatable {
	f := finder{tables: tables, ctes: map[string]bool{}, sorted: map[uintptr]bool{}}
	each(tree, func(m map[string]any) {
		for _, entry := range list(m, "map") {
			cte, _ := entry.(map[string]any)
			f.ctes[strings.ToLower(text(cte, "key"))] = true
		}
		f.ctes[strings.ToLower(text(m, "cte_name"))] = true
	})
	f.collations(tree, false)
	each(tree, f.node)
	slices.SortStableFunc(f.found, func(a, b duck.Unrepeatable) int { return a.Offset - b.Offset })
	return f.found
}

type finder struct {
	tables map[string]ir.Schema
	ctes   map[string]bool
	sorted map[uintptr]bool // aggregates whose list is sorted; DuckDB's parser moves the order of list(DISTINCT x ORDER BY x) there
	found  []duck.Unrepeatable
}

func (f *finder) add(at any, message, hint string) {
	f.found = append(f.found, duck.Unrepeatable{Message: message, Hint: hint, Offset: offsetOf(at)})
}

func (f *finder) node(n map[string]any) {
	switch {
	case n["class"] == "FUNCTION":
		f.function(n)
	case n["class"] == "WINDOW":
		f.window(n)
	case n["class"] == "COLUMN_REF":
		if names := list(n, "column_names"); len(names) == 1 {
			name := strings.ToLower(fmt.Sprint(names[0]))
			if volatileNames[name] && !f.column(name) {
				f.add(n, name+" gives another result every time", useColumn)
			}
			if name == "rowid" && !f.column(name) {
				f.add(n, "rowid is not a column of the inputs", "number the rows by row_number() OVER (ORDER BY ...)")
			}
		}
	case n["type"] == "BASE_TABLE":
		name := strings.ToLower(text(n, "table_name"))
		if schema := strings.ToLower(text(n, "schema_name")); catalogs[schema] || !f.ctes[name] && !f.table(name) {
			f.add(n, name+" describes the database, not the data", "read the inputs only")
		}
	case n["type"] == "TABLE_FUNCTION":
		call, _ := n["function"].(map[string]any)
		if name := strings.ToLower(text(call, "function_name")); !tableFunctions[name] {
			f.add(n, name+" reads something other than the inputs", "read the inputs only")
		}
	case n["ref_type"] == "POSITIONAL":
		f.add(n["right"], "POSITIONAL JOIN depends on the order of rows, which is not fixed", "join on columns")
	}
	if n["sample"] != nil {
		at := any(n)
		if n["type"] == "SELECT_NODE" {
			at = n["from_table"]
		}
		f.add(at, "a sample takes other rows every time", "take a share of the rows by a hash of their key, as in WHERE hash(id) % 100 < 10")
	}
	f.modifiers(n)
}

func (f *finder) table(name string) bool {
	for t := range f.tables {
		if strings.EqualFold(t, name) {
			return true
		}
	}
	return false
}

func (f *finder) column(name string) bool {
	for _, schema := range f.tables {
		if slices.ContainsFunc(schema, func(c ir.Column) bool { return strings.EqualFold(c.Name, name) }) {
			return true
		}
	}
	return false
}

func (f *finder) function(n map[string]any) {
	name := strings.ToLower(text(n, "function_name"))
	by, _ := n["order_bys"].(map[string]any)
	switch {
	case n["is_operator"] == true:
	case name == "age" && len(list(n, "children")) > 1: // between two times
	case volatile[name]:
		f.add(n, name+" gives another result every time", useColumn)
	case name == "reservoir_quantile":
		f.add(n, name+" draws rows at random", "write quantile_cont or approx_quantile")
	case sorters[name]:
		if children := list(n, "children"); len(children) > 0 {
			f.sorted[reflect.ValueOf(children[0]).Pointer()] = true
		}
	case f.sorted[reflect.ValueOf(n).Pointer()]:
	case name == "json_group_structure":
		f.add(n, name+" depends on the order of rows, which is not fixed", "write json_structure(to_json(list(... ORDER BY ...)))")
	case name == "json_group_array" || name == "json_group_object":
		f.add(n, name+" depends on the order of rows, which is not fixed", "write to_json(list(... ORDER BY ...))")
	case ownOrder[name] && len(list(by, "orders")) == 0:
		f.add(n, name+" without ORDER BY depends on the order of rows, which is not fixed", fmt.Sprintf("write %s(... ORDER BY ...)", name))
	}
}

// collations checks COLLATE, by which different texts are equal. That is fine where they
// are compared or sorted. Elsewhere any of them may stand for all.
func (f *finder) collations(n any, compared bool) {
	switch n := n.(type) {
	case []any:
		for _, x := range n {
			f.collations(x, compared)
		}
	case map[string]any:
		if n["class"] == "COLLATE" && !compared {
			f.add(n["child"], "COLLATE makes different texts equal, and any of them may be the result", "group by lower(...) or similar, and use COLLATE only to compare and in ORDER BY")
			return
		}
		compared = compared || strings.HasPrefix(text(n, "type"), "COMPARE_")
		for _, k := range sortedNames(n) {
			f.collations(n[k], compared && n["type"] != "SELECT_NODE" || k == "orders" || k == "arg_orders" || k == "partitions")
		}
	}
}

func (f *finder) window(n map[string]any) {
	if len(list(n, "orders")) > 0 || len(list(n, "arg_orders")) > 0 {
		return
	}
	name := strings.ToLower(text(n, "function_name"))
	rows := strings.HasSuffix(text(n, "start"), "_ROWS") || strings.HasSuffix(text(n, "end"), "_ROWS")
	switch text(n, "type") {
	case "WINDOW_ROW_NUMBER", "WINDOW_NTILE", "WINDOW_LEAD", "WINDOW_LAG", "WINDOW_FILL",
		"WINDOW_FIRST_VALUE", "WINDOW_LAST_VALUE", "WINDOW_NTH_VALUE":
	case "WINDOW_AGGREGATE":
		if !rows && !ownOrder[name] {
			return
		}
	default:
		return
	}
	f.add(n, name+" OVER without ORDER BY depends on the order of rows, which is not fixed", sortFirst)
}

// modifiers checks LIMIT and DISTINCT ON.
func (f *finder) modifiers(n map[string]any) {
	if modifier(n, "ORDER_MODIFIER") != nil {
		return
	}
	if on := distinctOn(n); len(on) > 0 {
		f.add(on[0], "DISTINCT ON without ORDER BY takes any row", sortFirst)
	}
	limit := modifier(n, "LIMIT")
	if limit == nil {
		return
	}
	from, _ := n["from_table"].(map[string]any)
	count, _ := limit["limit"].(map[string]any)
	value, _ := count["value"].(map[string]any)
	if from["type"] == "EMPTY" || fmt.Sprint(value["value"]) == "0" {
		return
	}
	at := limit["limit"]
	if at == nil {
		at = limit["offset"]
	}
	f.add(at, "LIMIT without ORDER BY takes any rows", sortFirst)
}
