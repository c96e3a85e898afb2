package facts

// A source is a part of a FROM clause.
type source struct {
	table   string    // of a base table
	query   *query    // of a subquery
	values  [][]*expr // rows of constants and other expressions
	pivot   *pivot    // a PIVOT or UNPIVOT
	alias   string
	columns []string // aliases

	left, right *source // of a join
	kind        string  // "INNER", "LEFT", "SEMI" ...
	using       []string
	natural     bool
	on          []*expr // conjuncts
	inexact     bool    // ASOF, POSITIONAL, a sample
	asof        bool
	at          int   // the byte of the query at which the join or the table begins
	unknown     bool  // not understood
	function    *expr // that makes a table, such as UNNEST
	ordinality  bool  // WITH ORDINALITY
	start       int   // the first byte of its text in the query, or -1
}

func decodeSource(n map[string]any) *source {
	s := &source{alias: text(n, "alias"), columns: names(n, "column_name_alias"), at: location(n), start: first(n)}
	switch text(n, "type") {
	case "", "EMPTY":
		return nil
	case "BASE_TABLE":
		s.table = text(n, "table_name")
		if s.alias == "" {
			s.alias = s.table
		}
	case "SUBQUERY":
		s.query = decodeQuery(object(object(n, "subquery"), "node"))
	case "EXPRESSION_LIST":
		for _, row := range list(n, "values") {
			r, _ := row.([]any)
			s.values = append(s.values, decodeExprs(r))
		}
	case "PIVOT":
		s.pivot = decodePivot(n)
	case "JOIN":
		s.left, s.right = decodeSource(object(n, "left")), decodeSource(object(n, "right"))
		s.kind, s.using, s.on = text(n, "join_type"), names(n, "using_columns"), conjuncts(n["condition"])
		ref := text(n, "ref_type")
		s.natural, s.asof = ref == "NATURAL", ref == "ASOF"
		s.inexact = ref != "REGULAR" && ref != "CROSS" && !s.natural
		s.unknown = s.left == nil || s.right == nil || ref == "DEPENDENT"
	case "TABLE_FUNCTION":
		s.function = decodeExpr(n["function"])
		s.ordinality = text(n, "with_ordinality") == "WITH_ORDINALITY"
	default:
		s.unknown = true
	}
	if n["sample"] != nil {
		s.inexact = true
	}
	return s
}
