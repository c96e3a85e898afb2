package facts

import (
	"math"
	"slices"
	"strings"
	"time"
)

// inside lists functions whose values are those of their first argument, of some rows.
var inside = map[string]bool{}

// averages lists functions whose values are between those of their first argument.
var averages = map[string]bool{}

// bounded lists functions with the range of their values, whatever their arguments.
var bounded = map[string]Range{}

func init() {
	for _, name := range strings.Fields(`min max first last any_value arbitrary mode arg_max arg_min max_by min_by argmax
		argmin first_value last_value nth_value quantile_disc nullif any_value`) {
		inside[name] = true
	}
	for _, name := range strings.Fields("avg mean median quantile_cont favg") {
		averages[name] = true
	}
	none := within(0, math.Inf(1))
	for _, name := range strings.Fields(`count count_star count_if countif approx_count_distinct regr_count length strlen len
		stddev stddev_pop stddev_samp variance var_pop var_samp`) {
		bounded[name] = none
	}
	for _, name := range strings.Fields("row_number rank dense_rank rank_dense ntile") {
		bounded[name] = within(1, math.Inf(1))
	}
	bounded["percent_rank"], bounded["cume_dist"], bounded["sign"] = within(0, 1), within(0, 1), within(-1, 1)
	bounded["sin"], bounded["cos"] = within(-1, 1), within(-1, 1)
}

// dated lists functions of times with the range of their values. They have others for
// intervals.
var dated = map[string]Range{
	"month": within(1, 12), "quarter": within(1, 4), "week": within(1, 53), "weekofyear": within(1, 53),
	"day": within(1, 31), "dayofmonth": within(1, 31), "dayofyear": within(1, 366),
	"dayofweek": within(0, 6), "weekday": within(0, 6), "isodow": within(1, 7),
	"hour": within(0, 23), "minute": within(0, 59),
}

// timeParts are the names of functions that the parts of a date have in date_part.
var timeParts = map[string]string{
	"month": "month", "mon": "month", "months": "month", "day": "day", "days": "day", "quarter": "quarter", "doy": "dayofyear", "dayofyear": "dayofyear",
	"hour": "hour", "hours": "hour", "minute": "minute", "minutes": "minute", "dow": "dayofweek", "dayofweek": "dayofweek",
	"isodow": "isodow", "week": "week", "weeks": "week", "year": "year", "years": "year",
}

// truncations are the longest times by which date_trunc moves a time, in days.
var truncations = map[string]float64{
	"year": 366, "quarter": 92, "month": 31, "week": 7, "day": 1, "hour": 1, "minute": 1, "second": 1,
}

const microsOfDay = 24 * 60 * 60 * 1e6

// An at is an expression in a scope. What is known of it is kept, because it is needed for every
// expression around it.
type at struct {
	e        *expr
	s        *scope
	strictly bool
}

// rangeOf returns the range of an expression.
func (a *analysis) rangeOf(e *expr, s *scope) Range {
	if len(e.args) == 0 {
		return a.compute(e, s)
	}
	key := at{e, s, a.strictly}
	r, ok := a.ranges[key]
	if !ok {
		r = a.compute(e, s)
		a.ranges[key] = r
	}
	return r
}

func (a *analysis) compute(e *expr, s *scope) Range {
	switch e.kind {
	case constant:
		return rangeOfConstant(e)
	case column:
		if s.binds(e.names) {
			return Range{}
		}
		c, ok := a.resolve(e.names, s)
		if !ok {
			return Range{}
		}
		if a.strictly && c.Range.Kind == Numbers {
			return RangeOf("float64", c.Domain)
		} else if a.strictly && c.Range.Kind == Times {
			return RangeOf(c.Type, c.Domain)
		}
		return c.Range
	case cases:
		return a.rangeOfCase(e, s)
	case equal, compares:
		return a.rangeOfComparison(e, s)
	case notNull:
		return truths
	case subquery:
		if e.exists || len(e.args) > 0 {
			return truths
		}
		if r, ok := a.scalars[e.query]; ok && !r.unknown && len(r.Columns) == 1 {
			return r.Columns[0].Range
		}
		return Range{}
	case star, window:
		if e.kind == window {
			return a.rangeOfCall(e, s)
		}
		return Range{}
	case call:
		return a.rangeOfCall(e, s)
	}
	switch e.typ {
	case "OPERATOR_IS_NULL", "COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM", "CONJUNCTION_AND", "CONJUNCTION_OR":
		return truths
	case "OPERATOR_NOT":
		if r := a.rangeOf(e.args[0], s); r.Kind == Truths && len(r.Texts) == 1 {
			return truth1(r.Texts[0] == "false")
		}
		return truths
	case "OPERATOR_COALESCE":
		return a.rangeOfAll(e.args, s)
	case "OPERATOR_CAST":
		if len(e.args) == 1 {
			return a.rangeOfCast(e, s)
		}
	}
	return Range{}
}

func (a *analysis) rangeOfAll(exprs []*expr, s *scope) Range {
	all := nothing
	for _, x := range exprs {
		all = hull(all, a.rangeOf(x, s))
	}
	return all
}

// rangeOfCase returns the range of the arms that may be needed.
func (a *analysis) rangeOfCase(e *expr, s *scope) Range {
	whens := e.args[:len(e.args)-len(e.arms)]
	all := nothing
	for i, arm := range e.arms {
		if i < len(whens) {
			when := a.rangeOf(whens[i], s)
			if always := when.Kind == Truths && when.Constant(); always && when.Texts[0] == "false" {
				continue
			} else if always && a.null(whens[i], s, nil) == never {
				return hull(all, a.rangeOf(arm, s))
			}
		}
		all = hull(all, a.rangeOf(arm, s))
	}
	return all
}

func truth1(yes bool) Range {
	if yes {
		return Range{Kind: Truths, Texts: []string{"true"}}
	}
	return Range{Kind: Truths, Texts: []string{"false"}}
}

func rangeOfConstant(e *expr) Range {
	switch {
	case e.null:
		return nothing
	case e.value == nil:
		return Range{}
	case e.value.Number:
		if low, high, ok := parsed(e.value.Text); ok {
			return within(low, high)
		}
		return Range{}
	}
	return Range{Kind: Texts, Texts: []string{e.value.Text}}
}

// asTime returns a range as one of times, if it is a text that is one.
func asTime(r Range) Range {
	if r.Kind == Texts && len(r.Texts) == 1 {
		if t, ok := ParseTime(r.Texts[0]); ok {
			return Range{Kind: Times, Low: float64(t.UnixMicro()), High: float64(t.UnixMicro())}
		}
	}
	return r
}

// ParseTime reads a date or a time as DuckDB and splits do. Without a zone, it is in UTC.
func ParseTime(text string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	for _, layout := range []string{time.DateOnly, time.DateTime, time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func (a *analysis) rangeOfCast(e *expr, s *scope) Range {
	r := a.rangeOf(e.args[0], s)
	if r.Kind == Nothing {
		return r
	}
	switch to := e.to; {
	case to == "BOOLEAN":
		if x := e.args[0]; x.kind == constant && x.value != nil && (x.value.Text == "t" || x.value.Text == "f") {
			return truth1(x.value.Text == "t")
		}
		if r.Kind == Truths {
			return r
		}
		return truths
	case to == "VARCHAR":
		if r.Kind == Texts {
			return r
		}
	case to == "DOUBLE":
		switch r.Kind {
		case Numbers:
			return r
		case Truths:
			return ofTruths(r)
		}
		return numbers
	case to == "DECIMAL" || integers[to].Kind == Numbers:
		switch r.Kind {
		case Truths:
			return ofTruths(r)
		case Numbers:
			return common(rounded(r, 0), integers[to])
		}
		return common(numbers, integers[to])
	case to == "DATE":
		if t := asTime(r); t.Kind == Times {
			return Range{Kind: Times, Low: math.Floor(t.Low/microsOfDay) * microsOfDay, High: t.High}
		}
		return times
	case strings.HasPrefix(to, "TIMESTAMP"):
		if t := asTime(r); t.Kind == Times && (to == "TIMESTAMP" || to == "TIMESTAMP WITH TIME ZONE") {
			return t
		}
		return times
	}
	return Range{}
}

func ofTruths(r Range) Range {
	return within(map[bool]float64{true: 0, false: 1}[slices.Contains(r.Texts, "false")], map[bool]float64{true: 1, false: 0}[slices.Contains(r.Texts, "true")])
}

// integers are the ranges of integers by DuckDB's names.
var integers = map[string]Range{
	"TINYINT": widths["int8"], "SMALLINT": widths["int16"], "INTEGER": widths["int32"], "BIGINT": widths["int64"],
	"UTINYINT": widths["uint8"], "USMALLINT": widths["uint16"], "UINTEGER": widths["uint32"], "UBIGINT": widths["uint64"],
	"HUGEINT": numbers,
}

// rangeOfCall returns the range of a call, an aggregate or a window.
func (a *analysis) rangeOfCall(e *expr, s *scope) Range {
	args := e.args[:min(e.nargs, len(e.args))]
	name := strings.TrimSuffix(e.name, "?")
	if r, ok := bounded[name]; ok && (name != "len" && name != "length" || len(args) == 1) {
		return r
	}
	var of []Range
	for _, x := range args {
		of = append(of, a.rangeOf(x, s))
	}
	if len(of) == 0 {
		return Range{}
	}
	first := of[0]
	if _, ok := dated[name]; ok || name == "year" {
		return partOfTime(name, first)
	}
	switch name {
	case "lag", "lead":
		return a.rangeOfAll(e.args, s)
	case "greatest", "least":
		return a.extreme(args, of, s, name == "least")
	case "sum", "fsum", "kahan_sum", "sumkahan", "sum_no_overflow":
		return sum(first)
	case "date_trunc", "datetrunc":
		return truncated(args, of)
	case "date_part", "datepart":
		if len(of) == 2 && first.Kind == Texts && len(first.Texts) == 1 {
			return partOfTime(timeParts[strings.ToLower(first.Texts[0])], of[1])
		}
		return Range{}
	case "round", "trunc", "floor", "ceil", "ceiling", "round_even":
		return a.rangeOfRounding(args, first)
	}
	if !single(name, args) {
		return Range{}
	}
	switch {
	case inside[name]:
		return first
	case averages[name]:
		if first.Kind == Numbers {
			return first.wide()
		}
		return Range{}
	}
	if len(args) == 1 && name == "-" && !a.signed(args[0], s) {
		return Range{}
	}
	return arithmetic(name, args, of)
}

// signed reports whether an expression has no unsigned type, for which DuckDB's negation
// wraps around.
func (a *analysis) signed(e *expr, s *scope) bool {
	switch {
	case e.kind == column:
		c, ok := a.resolve(e.names, s)
		return ok && c.Type != "" && !strings.HasPrefix(c.Type, "uint")
	case e.kind == constant:
		return true
	case e.typ == "OPERATOR_CAST":
		return !strings.HasPrefix(e.to, "U")
	}
	return e.query == nil && !slices.ContainsFunc(e.args, func(x *expr) bool { return !a.signed(x, s) })
}

// single reports whether a function gives one value: max(x, 3) and quantile_cont(x, [0.1])
// give lists.
func single(name string, args []*expr) bool {
	switch {
	case strings.HasPrefix(name, "quantile"):
		return len(args) == 2 && args[1].value != nil && args[1].value.Number
	case strings.HasPrefix(name, "arg") || strings.HasSuffix(name, "_by") || name == "nullif" || name == "nth_value":
		return len(args) == 2
	}
	return len(args) == 1 || arithmetical[name]
}

// arithmetical lists functions of two numbers.
var arithmetical = map[string]bool{"+": true, "-": true, "*": true, "/": true, "//": true, "%": true,
	"add": true, "subtract": true, "multiply": true, "divide": true, "mod": true}

func arithmetic(name string, args []*expr, of []Range) Range {
	first := of[0]
	if len(of) == 1 && first.Kind == Numbers {
		switch name {
		case "-":
			return minus(first)
		case "+":
			return first
		case "abs", "@":
			return absolute(first)
		case "sqrt":
			r := within(0, math.Inf(1))
			if first.High >= 0 {
				r.High = up(math.Sqrt(first.High))
			}
			if first.Low > 0 {
				r.Low = down(math.Sqrt(first.Low))
			}
			return r
		}
		return Range{}
	}
	if len(of) != 2 {
		return Range{}
	}
	second := of[1]
	if by, ok := interval(args[1]); ok && first.Kind == Times && (name == "+" || name == "-") {
		if name == "-" {
			by = -by
		}
		return Range{Kind: Times, Low: first.Low + by, High: first.High + by}
	}
	if first.Kind != Numbers || second.Kind != Numbers {
		return Range{}
	}
	switch name {
	case "+", "add":
		return plus(first, second)
	case "-", "subtract":
		return plus(first, minus(second))
	case "*", "multiply":
		return product(first, second)
	case "/":
		return over(first, second)
	case "//", "divide":
		return rounded(over(first, second), 0)
	case "%", "mod":
		return remainder(first, second)
	}
	return Range{}
}

// extreme returns the range of the least or the greatest of several values, without those
// that are null.
func (a *analysis) extreme(args []*expr, of []Range, s *scope, least bool) Range {
	all := nothing
	for _, r := range of {
		all = hull(all, r)
	}
	if all.Kind != Numbers && all.Kind != Times {
		return Range{}
	}
	for i, x := range args {
		switch {
		case a.null(x, s, nil) != never:
		case least:
			all.High = min(all.High, of[i].High)
		default:
			all.Low = max(all.Low, of[i].Low)
		}
	}
	return all
}

// sum bounds a sum on one side, if all numbers have the same sign. It has as many as there
// are rows.
func sum(of Range) Range {
	switch {
	case of.Kind != Numbers:
		return Range{}
	case of.Low >= 0:
		return within(0, math.Inf(1))
	case of.High <= 0:
		return within(math.Inf(-1), 0)
	}
	return numbers
}

func truncated(args []*expr, of []Range) Range {
	if len(of) != 2 || of[0].Kind != Texts || len(of[0].Texts) != 1 || of[1].Kind != Times {
		return Range{}
	}
	days, ok := truncations[strings.ToLower(of[0].Texts[0])]
	if !ok {
		return times
	}
	return Range{Kind: Times, Low: of[1].Low - days*microsOfDay, High: of[1].High}
}

// partOfTime returns the range of a part of a time, such as its month.
func partOfTime(name string, of Range) Range {
	if of.Kind != Times { // that of an interval has other bounds
		return Range{}
	}
	if name != "year" {
		return dated[name]
	}
	year := func(micros float64) float64 {
		if math.Abs(micros) > 1e17 { // about 3000 years
			return math.Copysign(math.Inf(1), micros)
		}
		return float64(time.UnixMicro(int64(micros)).UTC().Year())
	}
	return within(year(of.Low), year(of.High))
}

func (a *analysis) rangeOfRounding(args []*expr, of Range) Range {
	switch {
	case of.Kind != Numbers:
		return Range{}
	case len(args) == 1:
		return rounded(of, 0)
	case args[1].number != nil:
		return rounded(of, int(max(-1, min(99, *args[1].number))))
	}
	return numbers
}

// interval returns the microseconds of an interval of fixed length, as INTERVAL 7 DAY.
func interval(e *expr) (float64, bool) {
	unit := map[string]float64{"to_weeks": 7 * microsOfDay, "to_days": microsOfDay, "to_hours": 3600e6, "to_minutes": 60e6, "to_seconds": 1e6}[e.name]
	if e.kind != call || unit == 0 || len(e.args) == 0 {
		return 0, false
	}
	x := e.args[0]
	for (x.typ == "OPERATOR_CAST" || x.kind == call && x.name == "trunc") && len(x.args) > 0 {
		x = x.args[0]
	}
	if x.number == nil {
		return 0, false
	}
	return float64(*x.number) * unit, true
}

// rangeOfComparison tells whether a comparison is the same for all values.
func (a *analysis) rangeOfComparison(e *expr, s *scope) Range {
	if len(e.args) != 2 || !a.ordered(e.args[0], s) || !a.ordered(e.args[1], s) {
		return truths
	}
	x, y := a.rangeOf(e.args[0], s), a.rangeOf(e.args[1], s)
	if x.Kind != y.Kind || x.Kind != Numbers {
		return truths
	}
	switch e.op {
	case "<", ">=":
		if y.Low > x.High {
			return truth1(e.op == "<")
		} else if x.Low >= y.High {
			return truth1(e.op != "<")
		}
	case ">", "<=":
		if x.Low > y.High {
			return truth1(e.op == ">")
		} else if x.High <= y.Low {
			return truth1(e.op != ">")
		}
	case "=", "<>":
		if x.Low > y.High || y.Low > x.High {
			return truth1(e.op == "<>")
		}
	}
	return truths
}

// ordered reports whether an expression is a number that is never NaN, which is greater than
// any other.
func (a *analysis) ordered(e *expr, s *scope) bool {
	r := a.rangeOf(e, s)
	if r.Kind != Numbers {
		return false
	}
	finite := func(x *expr) bool { return finiteRange(a.rangeOf(x, s)) && a.ordered(x, s) }
	switch {
	case e.kind == column:
		c, ok := a.resolve(e.names, s)
		return ok && c.ordered && (c.Type != "" || finiteRange(r))
	case e.kind == constant:
		return true
	case e.kind != call && e.typ != "OPERATOR_CAST" && e.typ != "OPERATOR_COALESCE":
		return false
	case strings.HasPrefix(e.name, "count"), e.name == "length", e.name == "year", dated[e.name].Kind == Numbers:
		return true
	case e.kind == call && !inside[e.name] && !averages[e.name] && !calculates[e.name]:
		return false
	}
	return finiteRange(r) && !slices.ContainsFunc(e.args, func(x *expr) bool { return !finite(x) })
}

func finiteRange(r Range) bool { return !math.IsInf(r.Low, 0) && !math.IsInf(r.High, 0) }

// calculates lists functions that give a number for finite numbers, unless the result is
// infinite.
var calculates = map[string]bool{"+": true, "-": true, "*": true, "/": true, "abs": true, "round": true, "floor": true, "ceil": true, "least": true, "greatest": true}
