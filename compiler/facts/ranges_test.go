package facts_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// measured is a table with declared bounds: o.
var measured = ir.Schema{
	{Name: "x", Type: "int64", Min: "-3", Max: "10"}, {Name: "y", Type: "int32", Min: "-100", Max: "-1"},
	{Name: "u", Type: "uint8"}, {Name: "n", Type: "int64", Min: "1", Nullable: true},
	{Name: "p", Type: "float64", Min: "0", Max: "1"}, {Name: "q", Type: "float64", Min: "0.1", Max: "0.7", Nullable: true},
	{Name: "w", Type: "float64", Nullable: true}, {Name: "f", Type: "float32", Min: "0", Max: "0.1"},
	{Name: "b", Type: "bool", Nullable: true}, {Name: "s", Type: "string", Values: []string{"a", "b", "c"}, Nullable: true},
	{Name: "t", Type: "timestamp"}, {Name: "d", Type: "date", Nullable: true, Max: "2024-01-31"},
	{Name: "v", Type: "timestamp", Min: "2024-01-01T00:00:00", Max: "2024-02-28T23:30:00"},
}

func declaredFacts(schema ir.Schema) facts.Table {
	t := facts.Table{ID: "o", From: []string{"o"}}
	for _, c := range schema {
		verdict := facts.Never
		if c.Nullable {
			verdict = facts.Maybe
		}
		col := facts.Column{
			Name: c.Name, Type: c.Type, Null: facts.Null{Verdict: verdict}, Unit: facts.Unit{Text: c.Unit},
			Origins: []facts.Origin{{Root: facts.Root{Table: "o", Column: c.Name}, Row: "row"}},
		}
		if c.Type != "float32" {
			col.Domain = facts.Domain{Min: c.Min.String(), Max: c.Max.String(), Values: c.Values}
		}
		t.Columns = append(t.Columns, col)
	}
	return t
}

// drawMeasures draws a query of numbers, times, texts and truths.
func drawMeasures(t *rapid.T) string {
	draw := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "part") }
	var number, truth, instant, text func(depth int) string
	number = func(depth int) string {
		if depth == 0 || draw("leaf", "more", "more") == "leaf" {
			return draw("x", "y", "u", "n", "p", "q", "w", "f", "0", "1", "2", "-1", "0.5", "1e-1", "100", "0.1", "x", "p", "q")
		}
		a, b := number(depth-1), number(depth-1)
		return strings.NewReplacer("A", a, "B", b, "TRUTH", truth(depth-1), "INSTANT", instant(depth-1), "S1", text(depth-1)).Replace(draw(
			"(A + B)", "(A - B)", "(A * B)", "(A / B)", "(A // B)", "(A % B)", "(- A)", "abs(A)", "round(A)", "round(A, 1)", "round(A, -1)",
			"floor(A)", "ceil(A)", "trunc(A)", "sign(A)", "sqrt(abs(A))", "least(A, B)", "greatest(A, B)", "coalesce(A, B)", "nullif(A, B)",
			"CASE WHEN TRUTH THEN A ELSE B END", "CASE WHEN TRUTH THEN A END", "CAST(A AS DOUBLE)", "CAST(A AS BIGINT)", "CAST(A AS INTEGER)", "CAST(A AS UTINYINT)",
			"CAST(A AS DECIMAL(10, 2))", "CAST(A AS FLOAT)", "CAST(TRUTH AS INTEGER)", "year(INSTANT)", "month(INSTANT)", "extract(dow FROM INSTANT)", "week(INSTANT)", "hour(CAST(INSTANT AS TIMESTAMP))", "length(S1)",
			"(SELECT max(x) FROM o)", "(SELECT avg(p) FROM o)"))
	}
	truth = func(depth int) string {
		if depth == 0 {
			return draw("b", "x > 3", "p < 0.5", "s = 'a'", "true")
		}
		return strings.NewReplacer("A", number(depth-1), "B", number(depth-1), "TRUTH", truth(depth-1), "INSTANT", instant(depth-1), "S1", text(depth-1)).Replace(draw(
			"A < B", "A >= B", "A = B", "A <> B", "A BETWEEN 0 AND B", "A IN (1, 2, B)", "NOT (TRUTH)", "(TRUTH AND x > 0)", "(TRUTH OR x > 0)", "A IS NULL", "S1 = 'a'", "S1 IN ('a', 'b')", "INSTANT >= '2024-02-01'", "CAST(A AS BOOLEAN)"))
	}
	instant = func(depth int) string {
		if depth == 0 {
			return draw("t", "d", "v", "DATE '2024-01-31'")
		}
		return strings.NewReplacer("INSTANT", instant(depth-1), "TRUTH", truth(depth-1)).Replace(draw(
			"INSTANT", "CAST(INSTANT AS DATE)", "CAST(INSTANT AS TIMESTAMP)", "date_trunc('month', INSTANT)", "date_trunc('week', INSTANT)", "date_trunc('year', INSTANT)", "date_trunc('hour', INSTANT)",
			"(INSTANT + INTERVAL 7 DAY)", "(INSTANT - INTERVAL '3 hours')", "(INSTANT - INTERVAL 1 MONTH)", "greatest(INSTANT, TIMESTAMP '2024-02-02 10:00:00')", "CASE WHEN TRUTH THEN INSTANT ELSE t END", "CAST(INSTANT AS TIMESTAMPTZ)"))
	}
	text = func(depth int) string {
		if depth == 0 {
			return draw("s", "'a'", "'z'")
		}
		return strings.NewReplacer("S1", text(depth-1), "TRUTH", truth(depth-1)).Replace(draw("S1", "coalesce(S1, 'x')", "CASE WHEN TRUTH THEN 'a' ELSE S1 END", "upper(S1)", "nullif(S1, 'b')", "CAST(S1 AS VARCHAR)"))
	}
	where := func() string {
		if draw("", "where") == "" {
			return ""
		}
		return " WHERE " + draw("x > 3", "x >= 3 AND x < 9", "x BETWEEN 2 AND 5", "x IN (1, 7)", "x NOT IN (1)", "NOT (x > 3)", "NOT (x <= 3 OR p > 0.5)", "3 < x", "x = 4", "x > y AND p >= q", "p < q", "w < 1", "w > 0 AND w <= 1", "b", "NOT b", "b = true",
			"s = 'a'", "s <> 'a'", "s IN ('a', 'b')", "s NOT IN ('a')", "t >= '2024-01-15'", "t < TIMESTAMP '2024-02-01'", "d = '2024-01-31'", "v <= '2024-01-31'", "v > TIMESTAMP '2024-02-01'", "CAST(t AS DATE) = '2024-01-20'", "CAST(t AS DATE) <= DATE '2024-01-20'", "t BETWEEN '2024-01-10' AND '2024-01-20'", "u + x > 5", truth(1))
	}
	items := func() string {
		return fmt.Sprintf("%s AS c1, %s AS c2, %s AS c3, %s AS c4, x AS c5, t AS c6, s AS c7, b AS c8, w AS c9", number(3), truth(2), instant(2), text(2))
	}
	from := draw("o", "o", "(SELECT * FROM o"+where()+") AS o", "(SELECT * REPLACE (x + 1 AS x) FROM o"+where()+") AS o", "o LEFT JOIN (SELECT x AS k FROM o WHERE x > 3) AS j ON o.x = j.k")
	switch draw("plain", "plain", "group", "window", "union") {
	case "group":
		return fmt.Sprintf("SELECT %s(%s) AS c1, sum(%s) AS c2, avg(%s) AS c3, min(%s) AS c4, count(*) AS c5, median(%s) AS c6, stddev_pop(p) AS c7, x AS c8 FROM %s%s GROUP BY x", draw("max", "any_value", "first"), number(2), number(2), number(2), instant(1), number(1), from, where())
	case "window":
		return fmt.Sprintf("SELECT lag(%s, 1, 5) OVER (ORDER BY x, t) AS c1, avg(%s) OVER (ORDER BY x, t ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS c2, row_number() OVER (ORDER BY x, t) AS c3, sum(%s) OVER (ORDER BY x, t) AS c4, percent_rank() OVER (ORDER BY x, t) AS c5 FROM %s%s", number(2), number(2), number(1), from, where())
	case "union":
		return fmt.Sprintf("SELECT %s FROM %s%s UNION ALL SELECT %s FROM o%s", items(), from, where(), items(), where())
	}
	return fmt.Sprintf("SELECT %s FROM %s%s", items(), from, where())
}

// rowsOf returns random rows that the declarations allow, often at their bounds.
func rowsOf(schema ir.Schema, r *rand.Rand) duck.Literal {
	l := duck.Literal{Schema: schema}
	for _, c := range schema {
		l.Rows.Columns = append(l.Rows.Columns, c.Name)
	}
	for range r.IntN(6) {
		var values []*string
		for _, c := range schema {
			if c.Nullable && r.IntN(4) == 0 {
				values = append(values, nil)
				continue
			}
			low, high := 0.0, 255.0
			if c.Min != "" {
				low, _ = strconv.ParseFloat(c.Min.String(), 64)
			}
			if c.Max != "" {
				high, _ = strconv.ParseFloat(c.Max.String(), 64)
			}
			f := []float64{low, high, low + r.Float64()*(high-low)}[r.IntN(3)]
			v := ""
			switch {
			case c.Type == "bool":
				v = []string{"false", "true"}[r.IntN(2)]
			case c.Type == "string":
				v = c.Values[r.IntN(len(c.Values))]
			case c.Type == "date":
				v = fmt.Sprintf("2024-01-%02d", 1+r.IntN(31))
			case c.Name == "v" && r.IntN(3) == 0:
				v = []string{"2024-01-01 00:00:00", "2024-02-28 23:30:00"}[r.IntN(2)]
			case c.Type == "timestamp":
				v = fmt.Sprintf("2024-%02d-%02d %02d:30:00", 1+r.IntN(2), 1+r.IntN(28), r.IntN(24))
			case c.Name == "w":
				v = []string{"Infinity", "-Infinity", "0", "-0.25", "1e300", "3"}[r.IntN(6)]
			case strings.HasPrefix(c.Type, "float"):
				v = strconv.FormatFloat(f, 'g', -1, 64)
			default:
				v = fmt.Sprint(int64(f))
			}
			values = append(values, &v)
		}
		l.Rows.Values = append(l.Rows.Values, values)
	}
	return l
}

// outside is the SQL of whether a value of a column is not in a range.
func outside(name string, r facts.Range) string {
	bound := func(f float64) string { return "'" + strconv.FormatFloat(f, 'g', -1, 64) + "'::DOUBLE" }
	switch r.Kind {
	case facts.Numbers:
		return fmt.Sprintf("NOT isnan(%[1]s::DOUBLE) AND (%[1]s::DOUBLE < %[2]s OR %[1]s::DOUBLE > %[3]s)", name, bound(r.Low), bound(r.High))
	case facts.Times:
		of := fmt.Sprintf("epoch_us(%s::TIMESTAMP)::DOUBLE", name)
		return fmt.Sprintf("%[1]s < %[2]s OR %[1]s > %[3]s", of, bound(r.Low), bound(r.High))
	case facts.Texts, facts.Truths:
		return fmt.Sprintf("%s::VARCHAR NOT IN ('%s')", name, strings.Join(r.Texts, "', '"))
	case facts.Nothing:
		return name + " IS NOT NULL"
	}
	return "false"
}

// DuckDB's values never leave the range that is computed for a column, whatever the rows that
// the declarations allow.
func TestValuesDoNotLeaveTheirRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		query := drawMeasures(t)
		d, err := duckdb.Describe(context.Background(), map[string]ir.Schema{"o": measured}, query)
		if err != nil {
			t.Skip("another query is drawn: this one does not type:", err)
		}
		var names []string
		for _, c := range d.Columns {
			names = append(names, c.Name)
		}
		got, err := facts.Query(d.Tree, map[string]facts.Table{"o": declaredFacts(measured)}, nil, names)
		if err != nil {
			t.Fatal(query, err)
		}
		out := duck.Table{Schema: ir.Schema{{Name: "one", Type: "int64"}}, Keys: []string{"one"}}
		counts := "SELECT CAST(1 AS BIGINT) AS one"
		for i, name := range names {
			counts += fmt.Sprintf(", count(*) FILTER (WHERE %s) AS %s", outside(name, got.Columns[i].Range), name)
			out.Schema = append(out.Schema, ir.Column{Name: name, Type: "int64"})
		}
		counts += ", count(*) AS total"
		out.Schema = append(out.Schema, ir.Column{Name: "total", Type: "int64"})
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rows"), 1))
		for range 3 {
			rows := rowsOf(measured, r)
			result, err := duckdb.Evaluate(context.Background(), counts+" FROM ("+query+")", map[string]duck.Literal{"o": rows}, out)
			if err != nil || len(result.Rows.Values) != 1 {
				continue // these rows overflow or the like
			}
			for i, v := range result.Rows.Values[0] {
				switch name := result.Rows.Columns[i]; {
				case name == "one" || v == nil:
				case name == "total":
					for _, f := range got.Findings {
						if *v != "0" && (f.Kind == facts.Apart || f.Kind == facts.Conflict) && !strings.Contains(query, "JOIN") && !strings.Contains(query, "UNION") && !strings.Contains(query, "(SELECT") {
							t.Fatalf("%s\nhas rows, in spite of %+v", query, f)
						}
					}
				case *v != "0":
					col := got.Column(name)
					t.Fatalf("%s\n%s leaves %v in %s rows of %s", query, name, col.Range, *v, writtenRows(map[string]duck.Literal{"o": rows}))
				}
			}
		}
	})
}

func TestRanges(t *testing.T) {
	for expr, want := range map[string]string{
		"x + y":                    "from -103 to 9",
		"x - y":                    "from -2 to 110",
		"x * y":                    "from -1000 to 300",
		"x * x":                    "from -30 to 100",
		"-x":                       "from -10 to 3",
		"abs(x)":                   "from 0 to 10",
		"p * 100":                  "from 0 to 100",
		"x / 2":                    "from -1.5 to 5",
		"x / y":                    "from -10 to 3",
		"y / x":                    "anything",
		"x // 4":                   "from -1 to 3",
		"x % 7":                    "from -3 to 7",
		"u % 7":                    "from 0 to 7",
		"round(x / 4)":             "from -1 to 3",
		"round(p * 10, 1)":         "from 0 to 10",
		"least(x, 5)":              "from -3 to 5",
		"greatest(n, 5)":           "from 5 to 9.22337203685e+18",
		"coalesce(n, 0)":           "from 0 to 9.22337203685e+18",
		"CASE WHEN b THEN x END":   "from -3 to 10",
		"CASE WHEN b THEN x END+1": "from -2 to 11",
		"CAST(p AS INTEGER)":       "from 0 to 1",
		"CAST(x AS UTINYINT)":      "from 0 to 10",
		"w * 0":                    "0",
		"w + 1":                    "anything",
		"f":                        "anything",
		"x > 10":                   "false",
		"x >= 10":                  "false, true",
		"x < 11":                   "true",
		"w > w":                    "false, true",
		"p BETWEEN 0 AND 1":        "false, true",
		"true":                     "true",
		"NOT true":                 "false",
		"s":                        "a, b, c",
		"coalesce(s, 'd')":         "a, b, c, d",
		"upper(s)":                 "anything",
		"DATE '2024-01-31'":        "2024-01-31",
		"month(d)":                 "from 1 to 12",
		"year(DATE '2024-01-31')":  "2024",
		"CAST('2024-01-31' AS DATE) + INTERVAL 1 DAY": "2024-02-01",
	} {
		if got := rangeOf(t, "SELECT "+expr+" AS c FROM o").Columns[0].Range.String(); got != want {
			t.Errorf("%s: %s, want %s", expr, got, want)
		}
	}
}

// Conditions narrow the ranges of columns.
func TestNarrowedRanges(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT x AS c FROM o WHERE x > 3":                                       "from 4 to 10",
		"SELECT x AS c FROM o WHERE NOT (x > 3)":                                 "from -3 to 3",
		"SELECT x AS c FROM o WHERE x > 3 OR b":                                  "from -3 to 10",
		"SELECT x AS c FROM o WHERE 3 < x AND x <= 5":                            "from 4 to 5",
		"SELECT x AS c FROM o WHERE x BETWEEN 1 AND 2":                           "from 1 to 2",
		"SELECT x AS c FROM o WHERE x IN (1, 7)":                                 "from 1 to 7",
		"SELECT x + 1 AS c FROM o WHERE x > 3":                                   "from 5 to 11",
		"SELECT x AS c FROM o WHERE x > y":                                       "from -3 to 10",
		"SELECT y AS c FROM o WHERE x < y":                                       "from -2 to -1",
		"SELECT s AS c FROM o WHERE s = 'a'":                                     "a",
		"SELECT s AS c FROM o WHERE s <> 'a'":                                    "b, c",
		"SELECT s AS c FROM o WHERE s NOT IN ('a', 'b')":                         "c",
		"SELECT b AS c FROM o WHERE b":                                           "true",
		"SELECT b AS c FROM o WHERE NOT b":                                       "false",
		"SELECT t AS c FROM o WHERE t >= '2024-01-01'":                           "at least 2024-01-01",
		"SELECT t AS c FROM o WHERE t < TIMESTAMP '2024-01-01 10:00:00'":         "before 2024-01-01 10:00:00",
		"SELECT t AS c FROM o WHERE CAST(t AS DATE) = '2024-01-01'":              "from 2024-01-01 to 2024-01-01 23:59:59.999999",
		"SELECT c FROM (SELECT x AS c FROM o WHERE x > 3) WHERE c < 7":           "from 4 to 6",
		"SELECT x AS c FROM o JOIN (SELECT 1 AS one) ON x > 3":                   "from 4 to 10",
		"SELECT x AS c FROM o LEFT JOIN (SELECT 1 AS one) ON x > 3":              "from -3 to 10",
		"SELECT avg(x) AS c FROM o WHERE x >= 4":                                 "from 3.999996 to 10.00001",
		"SELECT max(x) AS c FROM o GROUP BY b HAVING max(x) > 3":                 "from -3 to 10",
		"SELECT x AS c FROM o WHERE x > 3 UNION ALL SELECT -5 FROM o":            "from -5 to 10",
		"SELECT (SELECT max(x) FROM o WHERE x < 5) AS c FROM o":                  "from -3 to 4",
		"SELECT sum(p) AS c FROM o":                                              "at least 0",
		"SELECT count(*) AS c FROM o":                                            "at least 0",
		"SELECT lag(x, 1, 20) OVER (ORDER BY x) AS c FROM o":                     "from -3 to 20",
		"SELECT x AS c FROM o WHERE x > 3 AND (SELECT count(*) FROM o AS i) > 1": "from 4 to 10",
	} {
		if got := rangeOf(t, query).Columns[0].Range.String(); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// What a column reaches is what rows have that the declarations allow. It is unknown if it is
// not the declared bounds that decide it, or if conditions are not understood.
func TestReached(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT x * 2 AS c FROM o":                             "from -6 to 20",
		"SELECT x * 2 AS c FROM o WHERE y < -5":                "anything",
		"SELECT x - x AS c FROM o":                             "0",
		"SELECT abs(y) + x AS c FROM o":                        "anything",
		"SELECT x * 2 AS c FROM o WHERE x < 5":                 "from -6 to 8",
		"SELECT x * 2 AS c FROM o WHERE upper(s) = 'A'":        "anything",
		"SELECT x * 2 AS c FROM o LIMIT 3":                     "anything",
		"SELECT n * 2 AS c FROM o":                             "at least 2",
		"SELECT w * 2 AS c FROM o":                             "anything",
		"SELECT least(w, 5) AS c FROM o":                       "at most 5",
		"SELECT max(x) AS c FROM o":                            "from -3 to 10",
		"SELECT max(x) AS c FROM o HAVING max(x) < 5":          "anything",
		"SELECT CAST(p * 100 AS INTEGER) AS c FROM o":          "from 0 to 100",
		"SELECT c FROM (SELECT x * 2 AS c FROM o)":             "from -6 to 20",
		"SELECT c FROM (SELECT x * 2 AS c FROM o) WHERE c < 5": "anything",
		"SELECT o.x * 2 AS c FROM o JOIN o AS r ON o.x = r.y":  "anything",
		"SELECT x % 7 AS c FROM o":                             "anything",
		"SELECT round(p * 3) AS c FROM o":                      "from 0 to 3",
	} {
		c := rangeOf(t, query).Columns[0]
		got := "anything"
		if len(c.Parts) == 1 {
			got = shown(c.Parts[0].Reached())
		}
		if got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// shown writes what is reached. A bound that is not known has no sense as a value.
func shown(r facts.Range) string {
	if r.Kind == facts.Numbers && math.IsInf(r.High, -1) {
		return fmt.Sprintf("at least %v", r.Low)
	}
	return r.String()
}

func rangeOf(t *testing.T, query string) facts.Table {
	t.Helper()
	d, err := duckdb.Describe(context.Background(), map[string]ir.Schema{"o": measured}, query)
	if err != nil {
		t.Fatal(query, err)
	}
	var names []string
	for _, c := range d.Columns {
		names = append(names, c.Name)
	}
	got, err := facts.Query(d.Tree, map[string]facts.Table{"o": declaredFacts(measured)}, nil, names)
	if err != nil {
		t.Fatal(query, err)
	}
	return got
}
