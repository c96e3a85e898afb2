package facts

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A query is a SELECT, a set operation, or something that is not understood. It is what the
// files decode*.go read from DuckDB's tree, which nothing else of the package knows.
type query struct {
	with      []cte
	parts     []*query // of a set operation
	byName    bool     // it matches columns by their names
	recursive string   // the name by which the second of two parts reads the rows before
	aliases   []string // of their columns

	items   []*expr
	from    *source // nil without FROM
	where   []*expr // conjuncts of WHERE, HAVING and QUALIFY
	wheres  int     // how many of where are of WHERE
	groups  []*expr
	grouped bool    // GROUP BY ALL
	sets    [][]int // the indices of groups in each of several grouping sets
	rows    int     // of an UNPIVOT: how many of the last items are not all null in a row

	distinct   bool // no two rows are equal
	distinctOn []*expr
	picks      []*expr // that order the rows of a limited query, or by which it is distinct
	limited    bool    // by LIMIT, DISTINCT or a sample
	limit      *int64
	sampled    bool   // or limited by something else
	setop      string // "UNION", "EXCEPT" ...
	all        bool   // UNION ALL
	at         int    // the first byte in the query, or -1

	unknown bool
}

type cte struct {
	name    string
	aliases []string
	query   *query
}

// decode reads the tree of one SELECT as json_serialize_sql writes it with skip_null.
func decode(tree []byte) (*query, error) {
	var doc struct {
		Statements []struct {
			Node map[string]any `json:"node"`
		} `json:"statements"`
	}
	d := json.NewDecoder(strings.NewReader(string(tree)))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("decode DuckDB's tree of a query: %w", err)
	}
	if len(doc.Statements) != 1 {
		return &query{unknown: true}, nil
	}
	return decodeQuery(doc.Statements[0].Node), nil
}

func decodeQuery(n map[string]any) *query {
	q := &query{at: first(n["select_list"]), sampled: n["sample"] != nil}
	for _, e := range list(object(n, "cte_map"), "map") {
		value := object(asObject(e), "value")
		q.with = append(q.with, cte{text(asObject(e), "key"), names(value, "aliases"), decodeQuery(object(object(value, "query"), "node"))})
	}
	switch text(n, "type") {
	case "SELECT_NODE":
		q.items, q.groups = decodeExprs(list(n, "select_list")), decodeExprs(list(n, "group_expressions"))
		for _, k := range []string{"where_clause", "having", "qualify"} {
			q.where = append(q.where, conjuncts(n[k])...)
			if k == "where_clause" {
				q.wheres = len(q.where)
			}
		}
		if sets := list(n, "group_sets"); len(sets) > 1 {
			for _, s := range sets {
				q.sets = append(q.sets, indices(s))
			}
		}
		q.from = decodeSource(object(n, "from_table"))
		q.grouped = text(n, "aggregate_handling") == "FORCE_AGGREGATES"
		q.rows = len(list(n, unpivoted))
	case "SET_OPERATION_NODE":
		for _, k := range []string{"left", "right"} {
			if n[k] != nil {
				q.parts = append(q.parts, decodeQuery(object(n, k)))
			}
		}
		for _, c := range list(n, "children") {
			q.parts = append(q.parts, decodeQuery(asObject(c)))
		}
		q.setop, q.all = text(n, "setop_type"), n["setop_all"] == true
		q.byName, q.unknown = q.setop == "UNION_BY_NAME", len(q.parts) < 2
		q.limited = q.setop == "EXCEPT" || q.setop == "INTERSECT"
	case "RECURSIVE_CTE_NODE":
		q.recursive, q.aliases, q.setop, q.all = text(n, "cte_name"), names(n, "aliases"), "UNION", n["union_all"] == true
		q.parts = []*query{decodeQuery(object(n, "left")), decodeQuery(object(n, "right"))}
		q.unknown = len(list(n, "key_targets")) > 0 // USING KEY replaces rows
	default:
		q.unknown = true
	}
	if len(q.parts) > 0 {
		q.distinct = !q.all
		if q.at < 0 {
			q.at = q.parts[0].at
		}
	}
	q.modifiers(n)
	return q
}

// modifiers reads ORDER BY, DISTINCT, LIMIT and a sample.
func (q *query) modifiers(n map[string]any) {
	var orders []*expr
	for _, m := range list(n, "modifiers") {
		switch m := asObject(m); text(m, "type") {
		case "ORDER_MODIFIER":
			orders = append(orders, nested(m["orders"])...)
			continue
		case "DISTINCT_MODIFIER":
			on := decodeExprs(list(m, "distinct_on_targets"))
			q.distinctOn, q.distinct = append(q.distinctOn, on...), q.distinct || len(on) == 0
		case "LIMIT_MODIFIER":
			q.limit = number(m["limit"])
			q.sampled = q.sampled || q.limit == nil && m["limit"] != nil
		default:
			q.sampled = true
		}
		q.limited = true
	}
	if q.limited = q.limited || q.sampled; q.limited {
		q.picks = append(orders, q.distinctOn...)
	}
}
