package rowsql_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// wide has a column, or two, of every type.
var wide = ir.Schema{
	{Name: "id", Type: "int64"},
	{Name: "b", Type: "bool"}, {Name: "b2", Type: "bool"},
	{Name: "i8", Type: "int8"}, {Name: "i16", Type: "int16"}, {Name: "i32", Type: "int32"}, {Name: "i64", Type: "int64"}, {Name: "j64", Type: "int64"},
	{Name: "u8", Type: "uint8"}, {Name: "u16", Type: "uint16"}, {Name: "u32", Type: "uint32"}, {Name: "u64", Type: "uint64"},
	{Name: "f32", Type: "float32"}, {Name: "f64", Type: "float64"}, {Name: "g64", Type: "float64"},
	{Name: "s", Type: "string"}, {Name: "s2", Type: "string"},
	{Name: "d", Type: "date"}, {Name: "d2", Type: "date"},
	{Name: "ts", Type: "timestamp"}, {Name: "ts2", Type: "timestamp"}, {Name: "tz", Type: "timestamptz"},
	{Name: "tm", Type: "time"},
}

// templates are the forms of expressions by what they give. A word in braces stands for
// an expression, or for a column or constant.
var templates = map[string][]string{
	"bool": {
		"b", "b2", "{num} = {num}", "{num} < {num}", "{num} >= {num}", "{text} <= {text}", "{text} <> {text}", "{date} > {date}", "{ts} < {ts}", "{ts} = {date}",
		"{tz} > {tz}", "tm < tm", "{bool} AND {bool}", "{bool} OR {bool}", "NOT {bool}", "{num} IS NULL", "{text} IS NOT NULL",
		"{num} IS DISTINCT FROM {num}", "{bool} IS NOT DISTINCT FROM {bool}", "{num} BETWEEN {num} AND {num}", "{num} IN ({num}, {num}, 3)",
		"{text} NOT IN ({text}, 'a')", "{text} LIKE {pattern}", "{text} NOT LIKE {pattern}", "{text} ILIKE {pattern}", "{text} NOT ILIKE {pattern}", "{text} LIKE {text}",
		"starts_with({text}, {text})", "prefix({text}, {text})", "ends_with({text}, {text})", "suffix({text}, {text})", "contains({text}, {text})",
		"isnan({dbl})", "isinf({dbl})", "isfinite({dbl})", "isnan(f32)", "isinf(f32)", "isfinite(f32)",
		"CASE WHEN {bool} THEN {bool} ELSE {bool} END", "CAST({num} AS BOOLEAN)", "{bool} = {bool}", "{text} ^@ {text}",
	},
	"int": {
		"i8", "i16", "i32", "i64", "j64", "u8", "u16", "u32", "u64", "1", "-1", "0", "7", "1000", "9223372036854775807",
		"{int} + {int}", "{int} - {int}", "{int} * {int}", "{int} // {int}", "{int} % {int}", "-{int}", "+{int}", "abs({int})", "sign({num})",
		"add({int}, {int})", "subtract({int}, {int})", "multiply({int}, {int})", "divide({int}, {int})", "mod({int}, {int})", "@ {int}",
		"CAST({num} AS TINYINT)", "CAST({num} AS SMALLINT)", "CAST({num} AS INTEGER)", "CAST({num} AS BIGINT)", "CAST({num} AS UTINYINT)", "CAST({num} AS UINTEGER)",
		"CAST({num} AS UBIGINT)", "TRY_CAST({num} AS TINYINT)", "TRY_CAST({num} AS BIGINT)", "TRY_CAST({num} AS UBIGINT)", "CAST({bool} AS INTEGER)", "CAST({num} AS HUGEINT)",
		"coalesce({int}, {int})", "nullif({int}, {int})", "CASE WHEN {bool} THEN {int} WHEN {bool} THEN {int} END", "greatest({int}, {int})", "least({int}, {int}, 4)",
		"length({text})", "len({text})", "char_length({text})", "character_length({text})", "strlen({text})", "instr({text}, {text})", "strpos({text}, {text})", "position({text} IN {text})",
		"year({day})", "month({day})", "day({day})", "quarter({day})", "decade({day})", "century({day})", "millennium({day})", "dayofweek({day})", "isodow({day})", "isodow({date})", "isodow({ts})",
		"dayofyear({day})", "week({day})", "isoyear({day})", "weekday({day})", "weekofyear({day})", "dayofmonth({day})", "hour({ts})", "minute({ts})", "second({ts})",
		"millisecond({ts})", "microsecond({ts})", "hour(tm)", "minute(tm)", "second(tm)", "millisecond(tm)", "microsecond(tm)",
		"extract(year FROM {day})", "date_part('doy', {day})", "date_part('Hour', {ts})", "date_part('dow', {ts})", "date_part('month', {ts})", "datepart('week', {date})",
		"date_diff('day', {date}, {date})", "date_diff('month', {date}, {date})", "datediff('year', {ts}, {ts})", "date_diff('week', {ts}, {ts})", "date_diff('quarter', {ts}, {ts})",
		"date_diff('day', {ts}, {ts})", "date_diff('hour', {ts}, {ts})", "date_diff('minute', {ts}, {ts})", "date_diff('second', {ts}, {ts})", "date_diff('week', {date}, {date})", "date_diff('hour', {date}, {date})",
		"epoch_ms({ts})", "epoch_ms({tz})", "epoch_us({tz})", "hour({tz})", "minute({tz})", "second({tz})", "millisecond({tz})", "microsecond({tz})", "date_part('hour', {tz})", "date_diff('day', {near}, {near})", "date_diff('hour', {near}, {near})", "date_diff('month', {near}, {near})", "date_diff('week', {near}, {near})", "date_diff('year', {near}, {near})", "date_diff('minute', {near}, {near})", "epoch_us({ts})", "{date} - {date}",
	},
	"dec": {
		"1.5", "0.25", "-3.0", "123456789.123456", "CAST({int} AS DECIMAL(18,3))", "CAST({int} AS DECIMAL(38,6))", "CAST({int} AS DECIMAL(9,2))", "CAST({dec} AS DECIMAL(10,1))",
		"CAST({dec} AS DECIMAL(38,10))", "{dec} + {dec}", "{dec} - {dec}", "{dec} * {dec}", "-{dec}", "abs({dec})", "{int} * 1.5", "{int} + 0.5", "CAST({dec} AS DECIMAL(4,0))",
		"round({dec}, 1)", "round({dec})", "floor({dec})", "ceil({dec})", "ceiling({dec})", "round({dec}, 0)", "greatest({dec}, {int})", "CASE WHEN {bool} THEN {dec} ELSE {int} END", "TRY_CAST({dec} AS DECIMAL(5,2))",
	},
	"dbl": {
		"f64", "g64", "f32", "1e10", "0.1::DOUBLE", "{dbl} + {dbl}", "{dbl} - {dbl}", "{dbl} * {dbl}", "{num} / {num}", "{dbl} + {num}", "{dbl} * 1.5", "-{dbl}", "+{dbl}",
		"add({dbl}, {dbl})", "subtract({dbl}, {dbl})", "multiply({dbl}, {dbl})", "divide({dbl}, {dbl})",
		"abs({dbl})", "ceil({dbl})", "ceiling({dbl})", "floor({dbl})", "trunc({dbl})", "round({dbl})", "round({dbl}, 2)", "round({dbl}, -2)", "round({dbl}, 5)", "round({dbl}, 0)", "sqrt({dbl})",
		"CAST({num} AS DOUBLE)", "CAST({num} AS FLOAT)", "CAST({bool} AS DOUBLE)", "f32 + f32", "f32 * f32", "f32 / f32", "f32 - f32", "abs(f32)", "-f32", "round(f32)", "floor(f32)", "ceil(f32)", "trunc(f32)",
		"coalesce({dbl}, {dbl})", "nullif({dbl}, {dbl})", "greatest({dbl}, {dbl})", "least({dbl}, {num})", "CASE WHEN {bool} THEN {dbl} ELSE {num} END", "epoch({ts})",
	},
	"num":     {"{int}", "{int}", "{dbl}", "{dbl}", "{dec}"},
	"pattern": {"'%a%'", "'a_'", "'_%'", "'%'", "''", "'%\u00e9_'", "'A%b'", "'%_a'", "'a%b%c'"},
	"text": {
		"s", "s2", "''", "'a'", "'\u00e9'", "lower({text})", "upper({text})", "lcase({text})", "ucase({text})", "trim({text})", "ltrim({text})", "rtrim({text})", "trim({text}, 'a ')", "ltrim({text}, {text})", "rtrim({text}, {text})",
		"{text} || {text}", "concat({text}, {text}, {int})", "concat_ws('-', {text}, {int}, {text})", "concat_ws({text}, {text}, {text})", "replace({text}, {text}, {text})", "replace({text}, 'a', 'bb')",
		"substring({text}, {small}, {small})", "substr({text}, {small})", "substring({text} FROM 2 FOR 3)", "left({text}, {small})", "right({text}, {small})",
		"CAST({int} AS VARCHAR)", "CAST({dbl} AS VARCHAR)", "CAST({dec} AS VARCHAR)", "CAST({bool} AS VARCHAR)", "CAST({date} AS VARCHAR)", "CAST({ts} AS VARCHAR)", "CAST(tm AS VARCHAR)",
		"coalesce({text}, {text})", "nullif({text}, {text})", "greatest({text}, {text})", "least({text}, {text})", "CASE WHEN {bool} THEN {text} ELSE {text} END",
		"strftime({ts}, '%Y%m%dT%H:%M:%S %j')", "strftime({date}, '%y-%B-%b %A %a %p %I %%')", "strftime({ts}, '%Y-%m')", "dayname({date})", "monthname({date})", "dayname({ts})", "monthname({ts})",
	},
	"small": {"1", "2", "0", "-1", "-3", "4", "100", "-100", "i8"},
	"date": {
		"d", "d2", "DATE '2020-02-29'", "CAST({ts} AS DATE)", "CAST({tz} AS DATE)", "{date} + 1", "{date} - 40", "{date} + i8::INTEGER", "last_day({date})", "make_date({yearno}, {small}, {small})",
		"coalesce({date}, {date})", "greatest({date}, {date})", "CASE WHEN {bool} THEN {date} END", "{date} + i32", "make_date(2020, 2, {small})", "last_day({ts})",
	},
	"yearno": {"2000", "1999", "0", "-1", "5881580", "i64"},
	"ts": {
		"ts", "ts2", "TIMESTAMP '2020-02-29 12:34:56.789'", "CAST({date} AS TIMESTAMP)", "CAST({tz} AS TIMESTAMP)", "{ts} + INTERVAL 1 DAY", "{ts} - INTERVAL 3 MONTH", "{ts} + INTERVAL 90 MINUTE", "{date} + INTERVAL 13 MONTH", "{date} - INTERVAL 2 YEAR", "{date} - INTERVAL 36 HOUR",
		"date_trunc('hour', {ts})", "date_trunc('month', {ts})", "date_trunc('week', {ts})", "date_trunc('year', {ts})", "date_trunc('quarter', {ts})", "datetrunc('minute', {ts})", "date_trunc('day', {ts})", "date_trunc('second', {ts})",
		"date_trunc('month', {date})", "{ts} + to_weeks(i8::INTEGER)", "{ts} + to_days(i32)", "{ts} - to_hours(i64)", "{ts} + to_months(i32)", "{ts} + to_years(i16::INTEGER)", "{ts} - to_minutes(i32)", "{ts} + to_seconds({dbl})", "{ts} - to_milliseconds({dbl})", "{ts} + to_microseconds(i64)", "{ts} + to_quarters(i32)", "{ts} - to_decades(i16::INTEGER)", "{ts} + to_centuries(i8::INTEGER)", "{ts} - to_millennia(i8::INTEGER)", "{ts} - INTERVAL 90 SECONDS", "{date} + INTERVAL (1.5) SECONDS", "{ts} + INTERVAL 2 QUARTERS", "{date} + to_months(i16::INTEGER)",
		"coalesce({ts}, {ts})", "least({ts}, {ts})", "CASE WHEN {bool} THEN {ts} ELSE {date} END",
	},
	"tz": {"tz", "CAST({ts} AS TIMESTAMPTZ)", "date_trunc('day', {tz})", "date_trunc('week', {tz})", "date_trunc('month', {tz})", "date_trunc('hour', {tz})", "date_trunc('year', {tz})", "coalesce({tz}, {tz})", "greatest({tz}, {tz})"},
	// DuckDB's database is lost after a date_diff of times with zones that are far away.
	"near": {"tz", "coalesce(tz, tz)"},
	"day":  {"{date}", "{ts}", "{tz}"},
}

var categories = []string{"bool", "int", "dec", "dbl", "text", "date", "ts", "tz"}

// A chooser returns a number below n.
type chooser func(label string, n int) int

func drawn(t *rapid.T) chooser {
	return func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
}

// expr makes an expression in SQL.
func expr(choose chooser, category string, depth int) string {
	forms := templates[category]
	if depth <= 0 {
		forms = slices.DeleteFunc(slices.Clone(forms), func(f string) bool { return strings.Contains(f, "{") && !strings.HasPrefix(f, "{") || f == "{dec}" })
		if len(forms) == 0 {
			forms = templates[category]
		}
	}
	return fill(choose, forms[choose(category, len(forms))], depth)
}

// fill replaces the words in braces of a template.
func fill(choose chooser, form string, depth int) string {
	for {
		from := strings.IndexByte(form, '{')
		if from < 0 {
			return "(" + form + ")"
		}
		to := from + strings.IndexByte(form[from:], '}')
		form = form[:from] + expr(choose, form[from+1:to], depth-1) + form[to+1:]
	}
}

var extremes = map[string][]rowsql.Value{
	"bool":    {rowsql.Bool(true), rowsql.Bool(false)},
	"int8":    ints(math.MinInt8, math.MaxInt8, -1, 0, 1, 2, 3, 7, 31, -100),
	"int16":   ints(math.MinInt16, math.MaxInt16, -1, 0, 1, 12, 300),
	"int32":   ints(math.MinInt32, math.MaxInt32, -1, 0, 1, 5, 86400),
	"int64":   ints(math.MinInt64, math.MinInt64+1, math.MaxInt64, -1, 0, 1, 2, 10, 1<<53, 1<<53+1, -1<<53-1, 1e18, 999999999),
	"uint8":   ints(0, 1, 2, math.MaxUint8),
	"uint16":  ints(0, 1, 1000, math.MaxUint16),
	"uint32":  ints(0, 1, 1000, math.MaxUint32),
	"uint64":  {rowsql.Uint(0), rowsql.Uint(1), rowsql.Uint(math.MaxUint64), rowsql.Uint(1 << 63), rowsql.Uint(1<<63 - 1), rowsql.Uint(1<<53 + 1)},
	"float64": floats(99.995, 0.24999999999, 9.995, 0.25, 0.125, 0.135, 1.15, 999.95, 999.949, -999.95, 0.045, 123.455, 1e17, 0.35, 2.345, 8.345, -0.5, 999999999.5, 0, math.Copysign(0, -1), 1, -1, 0.5, 1.5, 2.5, -2.5, 0.1, 1.005, 2.675, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1e15, 1e16, 123456789.125, 9.2233720368547758e18, 1e-5, 0.0001, 127.5, 127.4, -128.5, 255.5, 2147483647.5, 3.4e38, 1e300, 65535.6),
	"float32": float32s(0, float32(math.Copysign(0, -1)), 1, -1.5, 0.1, 3.4028235e38, 1e-45, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 16777216, 1e10, 2147483648, 1e15, 1e16),
	"string":  strs("", "a", "A", "ab", " a b ", "abcabc", "\u00e9", "e\u0301", "\u00c9", "\U0001F600a", "%_", "\u00df", "\u0130", "\u01c5", "\u03a3\u03c2", "-12", "3.5", "a\tb", "'", "\\", "\u1e9e", "\U00010400"),
	"date":    ints(0, -1, 1, 59, 18321, 18322, -719528, -719529, 2932896, 2932897, math.MaxInt32, -math.MaxInt32, math.MaxInt32-1, -math.MaxInt32+1, 106751991, 106751992, -106751991, -106751992, 10956, 11016, 16800, -2147483460, -2147483455, -2147483450, -2147483440, 2147483400),
	"timestamp": ints(0, -1, 1, 1_500_000_123_456, -62135596800000000, -62135596800000001, 253402300799999999, 253402300800000000, math.MaxInt64, -math.MaxInt64, math.MaxInt64-1, -9223372022400000000, 1582934400000000, 1580428800000000, 1356998400000000, 1388534399999999,
		-9223372022399999999),
	"timestamptz": ints(0, -1, 1, 1_500_000_123_456, 1582934400000000, -62135596800000001, 253402300800000000, -12219292800000001, -12219292800000000, -12212553600000000, 1580428799999999),
	"time":        ints(0, 1, 86399999999, 43200000000, 3599999999),
}

func ints(values ...int64) (all []rowsql.Value) {
	for _, v := range values {
		all = append(all, rowsql.Int(v))
	}
	return all
}

func floats(values ...float64) (all []rowsql.Value) {
	for _, v := range values {
		all = append(all, rowsql.Float(v))
	}
	return all
}

func float32s(values ...float32) (all []rowsql.Value) {
	for _, v := range values {
		all = append(all, rowsql.Float32(v))
	}
	return all
}

func strs(values ...string) (all []rowsql.Value) {
	for _, v := range values {
		all = append(all, rowsql.String(v))
	}
	return all
}

// extremeRows returns rows in which each column takes all of its extreme values, in
// another order than the others.
func extremeRows(r *rand.Rand, n int) [][]rowsql.Value {
	rows := make([][]rowsql.Value, n)
	for _, c := range wide {
		var values []rowsql.Value
		for len(values) < n {
			all := append([]rowsql.Value{rowsql.Null}, extremes[c.Type]...)
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			values = append(values, all...)
		}
		for i := range rows {
			v := values[i]
			if c.Name == "id" {
				v = rowsql.Int(int64(i))
			}
			rows[i] = append(rows[i], v)
		}
	}
	return rows
}

func drawValue(t *rapid.T, c ir.Column) rowsql.Value {
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		return rowsql.Null
	case 1, 2, 3:
		switch c.Type {
		case "int64":
			return rowsql.Int(rapid.Int64().Draw(t, c.Name))
		case "int32":
			return rowsql.Int(int64(rapid.Int32().Draw(t, c.Name)))
		case "uint64":
			return rowsql.Uint(rapid.Uint64().Draw(t, c.Name))
		case "float64":
			return rowsql.Float(rapid.Float64().Draw(t, c.Name))
		case "float32":
			return rowsql.Float32(rapid.Float32().Draw(t, c.Name))
		case "string":
			return rowsql.String(rapid.StringOfN(rapid.SampledFrom([]rune("aAb %_-.\u00e9\u0301\u00df\U0001F600")), 0, 8, -1).Draw(t, c.Name))
		case "date":
			return rowsql.Int(rapid.Int64Range(-800000, 3000000).Draw(t, c.Name))
		case "timestamp":
			return rowsql.Int(rapid.Int64Range(-70000000000000000, 260000000000000000).Draw(t, c.Name))
		}
	}
	return rapid.SampledFrom(extremes[c.Type]).Draw(t, c.Name)
}

func drawRows(t *rapid.T, schema ir.Schema, n int) [][]rowsql.Value {
	rows := make([][]rowsql.Value, n)
	for i := range rows {
		rows[i] = append(rows[i], rowsql.Int(int64(i)))
		for _, c := range schema[1:] {
			rows[i] = append(rows[i], drawValue(t, c))
		}
	}
	return rows
}

// TestFormsEqualDuckDB computes every form of expression on extreme values of all types.
func TestFormsEqualDuckDB(t *testing.T) {
	r := rand.New(rand.NewPCG(1, uint64(*seed)))
	sum := newTally()
	rows := extremeRows(r, 64)
	load(t, "f", wide, rows)
	tables := []rowsql.Table{{Name: "f", Schema: wide}}
	for _, category := range categories {
		for _, form := range templates[category] {
			for range *fills {
				e := fill(func(_ string, n int) int { return r.IntN(n) }, form, 1)
				if diff := compareWithDuckDB(t, sum, tables, rows, e); diff != "" {
					t.Errorf("%s: %s", form, diff)
					break
				}
			}
		}
	}
	sum.log(t)
}

// TestCastsEqualDuckDB casts the extreme values of every type to every other type.
func TestCastsEqualDuckDB(t *testing.T) {
	r := rand.New(rand.NewPCG(2, uint64(*seed)))
	sum := newTally()
	rows := extremeRows(r, 64)
	load(t, "f", wide, rows)
	from := []string{"CAST(i64 AS HUGEINT) * i64", "CAST(i64 AS DECIMAL(38,3))", "CAST(i32 AS DECIMAL(18,2)) / 1 * 1.25", "CAST(i32 AS DECIMAL(18,4)) * 0.37", "CAST(i8 AS DECIMAL(4,1)) * 0.5", "i64 * 0.001", "u64 * 1.5"}
	for _, c := range wide {
		from = append(from, c.Name)
	}
	to := []string{"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "FLOAT", "DOUBLE", "VARCHAR",
		"DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "DECIMAL(4,1)", "DECIMAL(9,0)", "DECIMAL(18,6)", "DECIMAL(18,2)", "DECIMAL(18,17)", "DECIMAL(38,2)", "DECIMAL(38,37)"}
	for _, f := range from {
		for _, typ := range to {
			for _, cast := range []string{"CAST", "TRY_CAST"} {
				if diff := compareWithDuckDB(t, sum, []rowsql.Table{{Name: "f", Schema: wide}}, rows, fmt.Sprintf("%s(%s AS %s)", cast, f, typ)); diff != "" {
					t.Error(diff)
				}
			}
		}
	}
	sum.log(t)
}

// TestExpressionsEqualDuckDB draws expressions and rows, and compares every value with
// DuckDB's, and every error.
func TestExpressionsEqualDuckDB(t *testing.T) {
	sum := newTally()
	tables := []rowsql.Table{{Name: "f", Schema: wide}}
	rapid.Check(t, func(rt *rapid.T) {
		rows := drawRows(rt, wide, 12)
		load(rt, "f", wide, rows)
		for range 12 {
			e := expr(drawn(rt), categories[drawn(rt)("category", len(categories))], rapid.IntRange(1, 3).Draw(rt, "depth"))
			if diff := compareWithDuckDB(t, sum, tables, rows, e); diff != "" {
				rt.Fatal(diff)
			}
		}
	})
	sum.log(t)
}

var (
	seed  = flag.Int("seed", 0, "of random choices")
	fills = flag.Int("fills", 3, "how often each form is filled")
)

// A tally counts what became of expressions, so that a generator of mostly refused ones
// shows.
type tally struct {
	run, refused, invalid int
	called                []*rowsql.Expr
	reasons               map[string]int
}

func newTally() *tally { return &tally{reasons: map[string]int{}} }

func (s *tally) log(t *testing.T) {
	t.Logf("%d expressions ran, %d were refused, %d are no SQL", s.run, s.refused, s.invalid)
	for _, reason := range slices.Sorted(maps.Keys(s.reasons)) {
		t.Logf("%5d %s", s.reasons[reason], reason)
	}
}

// compareWithDuckDB returns the first difference between the values of an expression.
func compareWithDuckDB(t *testing.T, sum *tally, tables []rowsql.Table, rows [][]rowsql.Value, e string) string {
	plan, err := compile(t, tables, "SELECT "+e+" AS x FROM f")
	if err != nil {
		if refused(err) {
			sum.refused++
		} else {
			sum.invalid++
		}
		sum.reasons[strings.SplitN(err.Error(), "\n", 2)[0]]++
		return ""
	}
	sum.run++
	typ := plan.Outputs[0].Type
	got, errs := run(t, plan, nil, rows)
	want, err := texts("SELECT " + comparable(typ, "x") + " FROM (SELECT id, " + e + " AS x FROM f) ORDER BY id")
	if err != nil {
		if want = oneByOne(rows, e, typ); want == nil {
			return ""
		}
	}
	for i := range rows {
		have := failed
		if errs[i] == nil {
			have = got[i][0]
		}
		if have == want[i][0] || refusedRow(errs[i]) {
			continue
		}
		if (have == failed || want[i][0] == failed) && have == unoptimized(e, typ, i) {
			continue
		}
		return fmt.Sprintf("%s\nrow %v\ngot  %q (%v)\nwant %q", e, describe(rows[i], e), have, errs[i], want[i][0])
	}
	return ""
}

// refusedRow reports whether an error says that DuckDB has a result that cannot be computed.
func refusedRow(err error) bool {
	var e *rowsql.Error
	return errors.As(err, &e) && e.Refused
}

// unoptimized computes an expression as it is written. The optimizer leaves out errors,
// such as that of x in (x OR true), and computes expressions that occur twice even for
// rows that need neither.
func unoptimized(e, typ string, row int) string {
	if _, err := database().Exec("PRAGMA disable_optimizer"); err != nil {
		return err.Error()
	}
	defer database().Exec("PRAGMA enable_optimizer")
	v, err := texts(fmt.Sprintf("SELECT %s FROM (FROM f WHERE id = %d)", comparable(typ, e), row))
	if err != nil {
		return failed
	}
	return v[0][0]
}

// oneByOne computes an expression of which some row fails. It returns nil if all do: then
// the expression fails before it reads a row.
func oneByOne(rows [][]rowsql.Value, e, typ string) [][]string {
	want, err := texts("SELECT TRY(coalesce(CAST(" + e + " AS VARCHAR), 'is null')) FROM f ORDER BY id")
	if err == nil && typ != "DOUBLE" && typ != "FLOAT" {
		for _, w := range want {
			switch w[0] {
			case none:
				w[0] = failed
			case "is null":
				w[0] = none
			}
		}
		return want
	}
	var all [][]string
	sound := false
	for i := range rows {
		want, err := texts(fmt.Sprintf("SELECT %s FROM (FROM f WHERE id = %d)", comparable(typ, e), i))
		if err != nil {
			want = [][]string{{failed}}
		} else {
			sound = true
		}
		all = append(all, want[0])
	}
	if !sound {
		return nil
	}
	return all
}

// calls returns the function calls of a plan.
func calls(plan *rowsql.Plan) (all []*rowsql.Expr) {
	var each func(*rowsql.Expr)
	each = func(e *rowsql.Expr) {
		if e.Op == "call" {
			all = append(all, e)
		}
		for _, a := range e.Args {
			each(a)
		}
	}
	for _, s := range plan.Steps {
		each(s.Compute.Expr)
	}
	return all
}

// describe writes the columns of a row that an expression names.
func describe(row []rowsql.Value, e string) string {
	var b strings.Builder
	for i, c := range wide {
		if strings.Contains(e, c.Name) {
			b.WriteString(c.Name + "=" + literal(row[i], c.Type) + " ")
		}
	}
	return b.String()
}
