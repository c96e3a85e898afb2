package facts

import (
	"fmt"
	"slices"
	"strings"
)

// aggregate lists the aggregates of DuckDB, with whether the result says little about
// single values.
var aggregate = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`any_value approx_quantile approx_top_k arbitrary arg_max arg_max_null
		arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin array_agg avg bit_and bit_or bit_xor
		bitstring_agg bool_and bool_or corr covar_pop covar_samp entropy favg first fsum geomean geometric_mean
		group_concat histogram histogram_exact kahan_sum kurtosis kurtosis_pop last list listagg mad max max_by mean
		median min min_by mode product quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_intercept regr_r2
		regr_slope regr_sxx regr_sxy regr_syy reservoir_quantile sem skewness stddev stddev_pop stddev_samp string_agg
		sum sum_no_overflow sumkahan var_pop var_samp variance wavg weighted_avg`) {
		aggregate[name] = true
	}
	for _, name := range strings.Fields("approx_count_distinct count count_if count_star countif regr_count") {
		aggregate[name] = false
	}
}

// Aggregate reports whether a function of DuckDB is an aggregate.
func Aggregate(name string) bool { _, ok := aggregate[name]; return ok }

// aggregates reports whether an expression aggregates the rows of its SELECT.
func aggregates(e *expr) bool {
	return e.kind == call && Aggregate(e.name) || slices.ContainsFunc(e.args, aggregates) || slices.ContainsFunc(e.orders, aggregates)
}

// expr returns the origins of an expression, and whether it may have others.
func (a *analysis) expr(e *expr, s *scope) (origins []Origin, partial bool) {
	switch e.kind {
	case constant:
		return nil, false
	case star:
		return nil, true
	case numbered:
		c, ok := s.numbered(e.index)
		return c.Origins, !ok || c.Partial
	case column:
		c, ok := a.resolve(e.names, s)
		return c.Origins, !ok || c.Partial
	case subquery:
		return a.subquery(e, s)
	case window:
		return a.window(e, s)
	}
	if len(e.bound) > 0 {
		s = s.within(e.bound)
	}
	if f := a.extracted(e, s); f != nil {
		return f.Origins, f.Partial
	}
	if e.kind == call && e.name == "unnest" {
		if elem := a.unnested(e, s); elem != nil {
			return elem.Origins, elem.Partial
		}
	}
	args := e.args
	if e.kind == call && Aggregate(e.name) && len(args) > 0 && args[0].kind == star {
		args = args[1:] // count(*)
	}
	origins, partial = a.all(args, s, e.decides...)
	if e.kind == call && Aggregate(e.name) {
		return a.aggregated(e, origins, s), partial
	}
	origins = through(origins, Computed)
	if e.kind == notNull || e.typ == "OPERATOR_IS_NULL" {
		for i := range origins {
			origins[i].Match = s.adds(e.args[0], origins[i].Table)
		}
	}
	return origins, partial
}

// adds reports whether a column is of a row that an outer join adds, and that no other
// table of the scope has.
func (s *scope) adds(e *expr, table string) bool {
	if e.kind != column {
		return false
	}
	t, c := s.lookup(e.names)
	return c != nil && len(c.joins) > 0 && !slices.ContainsFunc(s.tables, func(r relation) bool {
		return r.alias != t.alias && (r.unknown || slices.ContainsFunc(r.Columns, func(c Column) bool {
			return c.Partial || slices.ContainsFunc(c.Origins, func(o Origin) bool { return o.Table == table })
		}))
	})
}

// all returns the origins of several expressions, of which some only decide.
func (a *analysis) all(exprs []*expr, s *scope, deciding ...*expr) (origins []Origin, partial bool) {
	lists := make([][]Origin, len(exprs))
	for i, e := range exprs {
		var p bool
		lists[i], p = a.expr(e, s)
		partial = partial || p
		if slices.Contains(deciding, e) {
			lists[i] = slices.Clone(lists[i])
			for j := range lists[i] {
				lists[i][j].Decides = true
			}
		}
	}
	return merge(lists...), partial
}

func (a *analysis) aggregated(e *expr, origins []Origin, s *scope) []Origin {
	for i := range origins {
		o := &origins[i]
		if s.group != nil && a.single(s.group, *o) {
			o.Use = max(o.Use, Computed)
			continue
		}
		o.Whole = (s.whole || a.byItself(e, s)) && !e.filter && aggregate[e.name] && o.Use <= Computed
		o.Group, o.Fitted = s.groups, o.Whole && s.whole && s.grouping
		if !o.Fitted {
			o.Group = ""
		}
		if o.Whole {
			o.Site = Site{At: e.sign + 1}
		}
		o.groupBy(e, s.groupedBy)
		o.Use, o.Row, o.Own, o.Ahead, o.Set = Aggregated, "", false, Root{}, s.set(e)
	}
	return merge(origins)
}

// set names the value of an aggregate or a window in a SELECT.
func (s *scope) set(e *expr) string { return fmt.Sprintf("%d:%s", s.id, e.hash()) }

// byItself reports whether the rows of an aggregate are selected only by numbers that it
// aggregates, as in avg(price) of the rows with price > 0. This tells no rows of the test
// part from others.
func (a *analysis) byItself(e *expr, s *scope) bool {
	return len(s.picked) > 0 && !slices.ContainsFunc(s.picked, func(x *expr) bool {
		if x.kind != compares || len(x.args) < 2 || x.args[0].kind != column || !reads(e, x.args[0].names) {
			return true
		}
		return slices.ContainsFunc(x.args[1:], func(v *expr) bool { return v.value == nil || !v.value.Number })
	})
}

// reads reports whether an expression names a column.
func reads(e *expr, names []string) bool {
	if e.kind == column {
		return slices.EqualFunc(e.names, names, strings.EqualFold)
	}
	return slices.ContainsFunc(e.args, func(x *expr) bool { return reads(x, names) })
}

func (a *analysis) subquery(e *expr, s *scope) (origins []Origin, partial bool) {
	child, partial := a.all(e.args, s)
	r := a.query(e.query, s.env, s)
	a.scalars[e.query] = r
	if r.unknown || len(r.Columns) == 0 {
		return child, true
	}
	inner := r.Columns[0]
	if len(e.args) == 0 && len(r.Columns) == 1 && !e.exists {
		return merge(inner.Origins, decisions(r.Rows)), inner.Partial || r.RowsPartial
	}
	// EXISTS and IN: the rows that are looked for only decide.
	return merge(through(child, Computed), decisions(inner.Origins), decisions(r.Rows)), partial || inner.Partial || r.RowsPartial
}

// window returns the origins of a window function.
func (a *analysis) window(e *expr, s *scope) (origins []Origin, partial bool) {
	own, ahead := e.frame()
	args := e.args
	switch e.name {
	case "row_number", "rank", "dense_rank", "rank_dense", "percent_rank", "cume_dist", "ntile":
		args, ahead = e.orders, false
	}
	origins, partial = a.all(args, s)
	var by Root
	if ahead && len(e.orders) > 0 {
		if origins, p := a.expr(e.orders[0], s); !p {
			if o, ok := sole(origins); ok && o.OfRow() {
				by = o.Root
			}
		}
	}
	groups, fitted := "", s.whole && len(s.tables) == 1 && (e.everything() || e.placed() && !a.timed(e.orders, s))
	if fitted {
		groups, fitted = a.groups(e.partitions, s)
	}
	partition := a.partition(e, s)
	for i := range origins {
		o := &origins[i]
		o.Ahead = Root{}
		o.groupBy(e, partition)
		if o.Fitted = fitted && o.Use <= Computed && o.Row != ""; o.Fitted {
			o.Group = groups
		} else {
			o.Group = ""
		}
		if o.Use <= Computed {
			o.Ahead = by
		}
		if o.Fitted || o.Ahead != (Root{}) {
			o.Site = Site{At: e.sign + 1}
		}
		o.Own = own && o.OfRow()
		if !o.Own {
			o.Row = ""
		}
		o.Use, o.Whole, o.Set = max(o.Use, Windowed), false, s.set(e)
	}
	deciding, p := a.all(slices.Concat(e.decides, e.orders), s)
	return merge(origins, decisions(deciding)), partial || p
}

// frame reports whether a window function reads the row itself, and rows that come later
// in its order.
func (e *expr) frame() (own, ahead bool) {
	switch e.name {
	case "lag", "lead":
		n := int64(1)
		if e.startAt != nil {
			n = *e.startAt
		}
		if e.name == "lag" {
			n = -n
		}
		if e.descending {
			n = -n
		}
		return n == 0, n > 0
	case "lag?", "lead?":
		return false, false
	}
	preceding := strings.HasPrefix(e.start, "EXPR_PRECEDING") && (e.startAt == nil || *e.startAt > 0) || e.start == "UNBOUNDED_PRECEDING"
	following := strings.HasPrefix(e.end, "EXPR_FOLLOWING") && (e.endAt == nil || *e.endAt > 0) || e.end == "UNBOUNDED_FOLLOWING"
	from := preceding || strings.HasPrefix(e.start, "CURRENT_ROW") || e.startAt != nil && *e.startAt == 0
	to := following || strings.HasPrefix(e.end, "CURRENT_ROW") || e.endAt != nil && *e.endAt == 0
	if e.descending {
		following = preceding
	}
	return e.current && from && to, following && len(e.orders) > 0
}
