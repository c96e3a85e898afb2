package compiler_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A model that has one class to learn, or a part without rows, has a sound twin.
func TestDivisions(t *testing.T) {
	const (
		one    = "the label of models.m has only one value, %s"
		group  = `the test part of models.m takes whole groups of "shop", of which there is only one, 'north'`
		test   = `the test part of models.m is empty: no row has "t" from %s on`
		train  = `the training part of models.m is empty: no row has "t" before %s`
		random = "split.#Random & {fraction: 0.3}"
		text   = `label: col.#String`
		truth  = `label: col.#Bool`
		half   = "CASE WHEN size > 5 THEN 'large' ELSE 'small' END AS label"
	)
	after := func(at string) string { return fmt.Sprintf(`split.#ByTime & {column: "t", after: %q}`, at) }
	const byShop = `split.#ByGroup & {column: "shop"}`
	for name, tt := range map[string]struct{ query, label, split, want string }{
		"a label with two classes":                   {"SELECT id, t, shop, size, kind AS label FROM o", text, random, ""},
		"a label of which one class is left":         {"SELECT id, t, shop, size, kind AS label FROM o WHERE kind = 'a'", text, random, fmt.Sprintf(one, "'a'")},
		"a label of which two classes are left":      {"SELECT id, t, shop, size, kind AS label FROM o WHERE kind <> 'a'", text, random, ""},
		"all but one class are excluded":             {"SELECT id, t, shop, size, kind AS label FROM o WHERE kind NOT IN ('a', 'b')", text, random, fmt.Sprintf(one, "'c'")},
		"all but one class are excluded, by two":     {"SELECT id, t, shop, size, kind AS label FROM o WHERE kind <> 'a' AND kind <> 'b'", text, random, fmt.Sprintf(one, "'c'")},
		"one class by OR":                            {"SELECT id, t, shop, size, kind AS label FROM o WHERE kind = 'a' OR size > 3", text, random, ""},
		"one class in a subquery":                    {"SELECT id, t, shop, size, label FROM (SELECT *, kind AS label FROM o WHERE kind = 'a')", text, random, fmt.Sprintf(one, "'a'")},
		"one class in a CTE":                         {"WITH s AS (SELECT * FROM o WHERE kind IN ('a')) SELECT id, t, shop, size, kind AS label FROM s", text, random, fmt.Sprintf(one, "'a'")},
		"a CASE":                                     {"SELECT id, t, shop, size, " + half + " FROM o", text, random, ""},
		"a CASE of which one arm is left":            {"SELECT id, t, shop, size, " + half + " FROM o WHERE size > 7", text, random, fmt.Sprintf(one, "'large'")},
		"a CASE of which both arms are left":         {"SELECT id, t, shop, size, " + half + " FROM o WHERE size > 4", text, random, ""},
		"a CASE with equal arms":                     {"SELECT id, t, shop, size, CASE WHEN size > 5 THEN 'x' ELSE 'x' END AS label FROM o", text, random, fmt.Sprintf(one, "'x'")},
		"a truth":                                    {"SELECT id, t, shop, size, amount > 0 AS label FROM o", truth, random, ""},
		"a truth that its condition decides":         {"SELECT id, t, shop, size, amount > 0 AS label FROM o WHERE amount > 0", truth, random, fmt.Sprintf(one, "true")},
		"a truth that another condition allows":      {"SELECT id, t, shop, size, amount > 10 AS label FROM o WHERE amount > 0", truth, random, ""},
		"a truth that its declared bounds decide":    {"SELECT id, t, shop, size, size >= 0 AS label FROM o", truth, random, fmt.Sprintf(one, "true")},
		"a column that is true":                      {"SELECT id, t, shop, size, paid AS label FROM o WHERE paid", truth, random, fmt.Sprintf(one, "true")},
		"a column that may be true":                  {"SELECT id, t, shop, size, paid AS label FROM o", truth, random, ""},
		"a constant":                                 {"SELECT id, t, shop, size, 'yes' AS label FROM o", text, random, fmt.Sprintf(one, "'yes'")},
		"a union of constants":                       {"SELECT id, t, shop, size, 'yes' AS label FROM o WHERE paid UNION ALL SELECT id, t, shop, size, 'no' FROM o WHERE NOT paid", text, random, ""},
		"a split by groups":                          {"SELECT id, t, shop, size, kind AS label FROM o", text, byShop, ""},
		"a split by one group":                       {"SELECT id, t, shop, size, kind AS label FROM o WHERE shop = 'north'", text, byShop, group},
		"a split by two groups":                      {"SELECT id, t, shop, size, kind AS label FROM o WHERE shop IN ('north', 'south')", text, byShop, ""},
		"a split by a constant":                      {"SELECT id, t, 'north' AS shop, size, kind AS label FROM o", text, byShop, group},
		"a test of earlier years":                    {"SELECT id, t, shop, size, kind AS label FROM o WHERE t >= '2024-01-01'", text, after("2023-07-01"), fmt.Sprintf(train, "2023-07-01")},
		"a test of this year":                        {"SELECT id, t, shop, size, kind AS label FROM o WHERE t >= '2024-01-01'", text, after("2024-07-01"), ""},
		"a test that begins with the rows":           {"SELECT id, t, shop, size, kind AS label FROM o WHERE t >= '2024-01-01'", text, after("2024-01-01"), fmt.Sprintf(train, "2024-01-01")},
		"a test after the last rows":                 {"SELECT id, t, shop, size, kind AS label FROM o WHERE t < TIMESTAMP '2024-01-01'", text, after("2024-01-01"), fmt.Sprintf(test, "2024-01-01")},
		"a test of the last moment":                  {"SELECT id, t, shop, size, kind AS label FROM o WHERE t <= TIMESTAMP '2024-01-01'", text, after("2024-01-01"), ""},
		"a test after the rows between":              {"SELECT id, t, shop, size, kind AS label FROM o WHERE t BETWEEN '2022-01-01' AND '2023-12-31'", text, after("2024-01-01"), fmt.Sprintf(test, "2024-01-01")},
		"a test of the last rows between":            {"SELECT id, t, shop, size, kind AS label FROM o WHERE t BETWEEN '2022-01-01' AND '2023-12-31'", text, after("2023-12-01"), ""},
		"a test after the last day":                  {"SELECT id, t, shop, size, kind AS label FROM o WHERE CAST(t AS DATE) <= DATE '2023-12-31'", text, after("2024-01-01"), fmt.Sprintf(test, "2024-01-01")},
		"a test on the last day":                     {"SELECT id, t, shop, size, kind AS label FROM o WHERE CAST(t AS DATE) <= DATE '2023-12-31'", text, after("2023-12-31 12:00:00"), ""},
		"a test of rows before or after":             {"SELECT id, t, shop, size, kind AS label FROM o WHERE t >= '2024-01-01' OR paid", text, after("2023-07-01"), ""},
		"a test of months, of which all are earlier": {"SELECT id, CAST(date_trunc('month', t) AS TIMESTAMP) AS t, shop, size, kind AS label FROM o WHERE t < '2024-01-01'", text, after("2024-01-01"), fmt.Sprintf(test, "2024-01-01")},
		"a test of months":                           {"SELECT id, CAST(date_trunc('month', t) AS TIMESTAMP) AS t, shop, size, kind AS label FROM o WHERE t < '2024-02-01'", text, after("2024-01-01"), ""},
		"a test of times that are moved":             {"SELECT id, t + INTERVAL 30 DAY AS t, shop, size, kind AS label FROM o WHERE t < '2024-01-01'", text, after("2024-01-15"), ""},
		"a test of times that are moved too little":  {"SELECT id, t + INTERVAL 7 DAY AS t, shop, size, kind AS label FROM o WHERE t < '2024-01-01'", text, after("2024-01-15"), fmt.Sprintf(test, "2024-01-15")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": divided(tt.query, tt.label, tt.split)}, tt.want)
		})
	}
}

// Declared bounds of a time are those of all rows.
func TestDivisionsOfDeclaredTimes(t *testing.T) {
	const (
		test  = `the test part of models.m is empty: no row has "t" from %s on`
		train = `the training part of models.m is empty: no row has "t" before %s`
	)
	for name, tt := range map[string]struct{ bounds, t, after, want string }{
		"after the latest":                {`{max: "2024-06-30"}`, "t", "2024-07-01", fmt.Sprintf(test, "2024-07-01")},
		"at the latest":                   {`{max: "2024-07-01"}`, "t", "2024-07-01", ""},
		"at the earliest":                 {`{min: "2024-07-01"}`, "t", "2024-07-01", fmt.Sprintf(train, "2024-07-01")},
		"after the earliest":              {`{min: "2024-06-30"}`, "t", "2024-07-01", ""},
		"without bounds":                  {`{}`, "t", "2024-07-01", ""},
		"of a month":                      {`{max: "2024-06-30 12:00"}`, "CAST(date_trunc('month', t) AS TIMESTAMP)", "2024-07-01", fmt.Sprintf(test, "2024-07-01")},
		"of a month that may be the next": {`{max: "2024-07-02"}`, "CAST(date_trunc('month', t) AS TIMESTAMP)", "2024-07-01", ""},
		"of what is not understood":       {`{max: "2024-06-30"}`, "t + to_days(CAST(size AS INTEGER))", "2024-07-01", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			query := "SELECT id, " + tt.t + " AS t, shop, size, kind AS label FROM o"
			system := divided(query, "label: col.#String", fmt.Sprintf(`split.#ByTime & {column: "t", after: %q}`, tt.after))
			system = strings.Replace(system, "col.#Timestamp", "col.#Timestamp & "+tt.bounds, 1)
			refuses(t, map[string]string{"shop.cue": system}, tt.want)
		})
	}
}

// What one query leaves is what the next one reads.
func TestDivisionsThroughTwoFeatures(t *testing.T) {
	system := divided("SELECT id, t, shop, size, label FROM o", `label: col.#String & {values: ["a", "b", "c"]}`, "split.#Random")
	first := "features: e: feature.#SQL & {\n\tin: o: sources.orders.out\n\tsql: \"SELECT id, t, shop, size, kind AS label FROM o WHERE %s\"\n\tschema: {id: col.#Int64, t: col.#Timestamp, shop: col.#String, size: col.#Int64, label: col.#String & {values: [\"a\", \"b\", \"c\"]}}\n\tkeys: [\"id\"]\n}\n"
	system = strings.Replace(system, "in: o: sources.orders.out", "in: o: features.e.out", 1)
	for condition, want := range map[string]string{"kind = 'a'": "the label of models.m has only one value, 'a'", "kind <> 'a'": ""} {
		refuses(t, map[string]string{"shop.cue": system + fmt.Sprintf(first, condition)}, want)
	}
}

// A label of a source may have one value, too.
func TestDivisionsOfASource(t *testing.T) {
	system := divided("SELECT id, t, shop, size, kind AS label FROM o", `label: col.#String`, "split.#Random")
	for values, want := range map[string]string{`"a"`: "the label of models.m has only one value, 'a'", `"a", "b"`: ""} {
		refuses(t, map[string]string{"shop.cue": strings.Replace(system, `"a", "b", "c"`, values, 1)}, want)
	}
}

// The statistics of a Parquet file show which times it has, also after queries that only
// select rows. A file that may be one of many shows nothing, nor does a time that is computed.
func TestDivisionsOfAFile(t *testing.T) {
	const (
		rows  = "SELECT 1::BIGINT AS id, TIMESTAMP '2023-01-01' + to_days(n::INTEGER) AS t, 's' AS shop, 1::BIGINT AS size, 'a' AS kind, 1.5 AS amount, true AS paid FROM range(300) r(n)"
		query = "SELECT id, t, shop, size, kind AS label FROM o WHERE size > 3"
		test  = `the test part of models.m is empty: no row has "t" from 2024-01-01 on`
		train = `the training part of models.m is empty: no row has "t" before 2022-07-01`
	)
	for name, tt := range map[string]struct{ rows, query, after, want string }{
		"after the last row":            {rows, query, "2024-01-01", test},
		"before the first row":          {rows, query, "2022-07-01", train},
		"within":                        {rows, query, "2023-07-01", ""},
		"of the last row":               {rows, query, "2023-10-27", ""},
		"of a computed time":            {rows, "SELECT id, t + INTERVAL 1 YEAR AS t, shop, size, kind AS label FROM o", "2024-01-01", ""},
		"of rows from two tables":       {rows, query + " UNION ALL SELECT 0, TIMESTAMP '2024-02-01', 's', 1, 'b'", "2024-01-01", ""},
		"of a file without rows":        {rows + " WHERE n > 300", query, "2024-01-01", ""},
		"of a file that lacks a column": {strings.Replace(rows, "'s' AS shop, ", "", 1), query, "2024-01-01", `orders.parquet has no column "shop"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			parquetFile(t, filepath.Join(dir, "orders.parquet"), tt.rows)
			system := divided(tt.query, "label: col.#String", fmt.Sprintf(`split.#ByTime & {column: "t", after: %q}`, tt.after))
			system = strings.NewReplacer("source.#CSV", "source.#Parquet", "orders.csv", "orders.parquet").Replace(system)
			refusesIn(t, dir, map[string]string{"shop.cue": system}, tt.want)
		})
	}
}

// Small texts are read to the end for their times. A larger one tells nothing.
func TestDivisionsOfATextFile(t *testing.T) {
	const (
		query = "SELECT id, t, shop, size, kind AS label FROM o WHERE size > 3"
		head  = "id,t,shop,size,kind,amount,paid\n"
		first = "1,2023-01-01 00:00:00,s,1,a,1.5,true\n"
		last  = "2,2023-10-27 12:00:00,s,1,a,1.5,true\n"
		line  = `{"id": 1, "t": "2023-01-01 00:00:00", "shop": "s", "size": 1, "kind": "a", "amount": 1.5, "paid": true}` + "\n"
		test  = `the test part of models.m is empty: no row has "t" from 2024-01-01 on`
		train = `the training part of models.m is empty: no row has "t" before 2022-07-01`
	)
	csv := head + strings.Repeat(first, 20) + last
	lines := strings.Repeat(line, 20) + strings.Replace(line, "2023-01-01 00", "2023-10-27 12", 1)
	large := csv + strings.Repeat("3,2023-02-01 00:00:00,"+strings.Repeat("s", 1000)+",1,a,1.5,true\n", 2200)
	for name, tt := range map[string]struct{ file, text, query, after, want string }{
		"after the last row":      {"orders.csv", csv, query, "2024-01-01", test},
		"before the first row":    {"orders.csv", csv, query, "2022-07-01", train},
		"within":                  {"orders.csv", csv, query, "2023-10-27 12:00:00", ""},
		"of a large file":         {"orders.csv", large, query, "2024-01-01", ""},
		"of a computed time":      {"orders.csv", csv, "SELECT id, t + INTERVAL 1 YEAR AS t, shop, size, kind AS label FROM o", "2024-01-01", ""},
		"of a value that is none": {"orders.csv", csv + "3,soon,s,1,a,1.5,true\n", query, "2024-01-01", ""},
		"of no rows":              {"orders.csv", head, query, "2024-01-01", ""},
		"of a sample":             {"orders.csv", head + first + last, query, "2024-01-01", ""},
		"of no file":              {"others.csv", csv, query, "2024-01-01", ""},
		"after the last line":     {"orders.jsonl", lines, query, "2024-01-01", test},
		"before the first line":   {"orders.jsonl", lines, query, "2022-07-01", train},
		"within the lines":        {"orders.jsonl", lines, query, "2023-07-01", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, tt.file), []byte(tt.text))
			system := divided(tt.query, "label: col.#String", fmt.Sprintf(`split.#ByTime & {column: "t", after: %q}`, tt.after))
			if strings.HasSuffix(tt.file, "jsonl") {
				system = strings.NewReplacer("source.#CSV", "source.#JSON", "orders.csv", "orders.jsonl").Replace(system)
			}
			refusesIn(t, dir, map[string]string{"shop.cue": system}, tt.want)
		})
	}
}

func divided(query, label, split string) string {
	return fmt.Sprintf(`package shop

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "shop"

sources: orders: source.#CSV & {
	path: "orders.csv"
	schema: {
		id:     col.#Int64 & {unique: true}
		t:      col.#Timestamp
		shop:   col.#String
		size:   col.#Int64 & {min: 0, max: 10}
		kind:   col.#String & {values: ["a", "b", "c"]}
		amount: col.#Float64
		paid:   col.#Bool
	}
}

features: f: feature.#SQL & {
	in: o: sources.orders.out
	sql: """
		%s
		"""
	schema: {
		id:   col.#Int64
		t:    col.#Timestamp
		shop: col.#String
		size: col.#Int64
		%s
	}
	keys: ["id"]
	trust: ["id"]
}

models: m: train.#SKLearn & {
	in: table: features.f.out
	label:     "label"
	exclude: ["shop", "t"]
	known: ["size"]
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	test: %s
	evaluation: evaluate.#Classification
}
`, query, label, split)
}
