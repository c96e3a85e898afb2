package compiler_test

import (
	"fmt"
	"testing"
)

// Times that leave the declared bounds. Every wrong query has a sound twin.
func TestRangesOfTimes(t *testing.T) {
	const (
		never = "features.f.c is never what its schema declares"
		can   = "features.f.c can be %s, which its schema does not allow"
		apart = "a condition of features.f is never true: its two sides have no values that satisfy it"
	)
	some := func(value string) string { return fmt.Sprintf(can, value) }
	for name, tt := range map[string]struct{ column, query, want string }{
		"a copy":                           {`#Timestamp & {max: "2024-12-31"}`, "SELECT t AS c FROM o", ""},
		"a copy with a lower max":          {`#Timestamp & {max: "2024-06-30"}`, "SELECT t AS c FROM o", some("2024-12-31")},
		"a copy with a later min":          {`#Timestamp & {min: "2024-02-01"}`, "SELECT t AS c FROM o", some("2024-01-01")},
		"rows that keep the max":           {`#Timestamp & {max: "2024-06-30"}`, "SELECT t AS c FROM o WHERE t <= '2024-06-30'", ""},
		"rows that another column selects": {`#Timestamp & {max: "2024-06-30"}`, "SELECT t AS c FROM o WHERE kind = 'a'", ""},
		"a column without bounds":          {`#Timestamp & {max: "2024-06-30"}`, "SELECT u AS c FROM o", ""},
		"a day":                            {`#Date & {max: "2024-12-31"}`, "SELECT CAST(t AS DATE) AS c FROM o", ""},
		"a day that is always later":       {`#Date & {min: "2025-01-01"}`, "SELECT CAST(t AS DATE) AS c FROM o", never},
		"a month":                          {`#Timestamp & {min: "2024-01-01", max: "2024-12-31"}`, "SELECT CAST(date_trunc('month', t) AS TIMESTAMP) AS c FROM o", ""},
		"a month that is always earlier":   {`#Timestamp & {max: "2023-11-30"}`, "SELECT CAST(date_trunc('month', t) AS TIMESTAMP) AS c FROM o", never},
		"a later time":                     {`#Timestamp & {min: "2025-01-01"}`, "SELECT t + INTERVAL 2 YEAR AS c FROM o", ""},
		"a constant":                       {`#Date & {max: "2024-12-31"}`, "SELECT DATE '2025-01-01' AS c FROM o", never},
		"a constant within":                {`#Date & {max: "2024-12-31"}`, "SELECT DATE '2024-12-31' AS c FROM o", ""},
		"an arm that is always later":      {`#Date & {max: "2024-12-31"}`, "SELECT CASE WHEN kind = 'a' THEN DATE '2025-01-01' ELSE d END AS c FROM o", "features.f.c can be 2025-01-01 by an arm of its CASE, which its schema does not allow"},
		"an arm within":                    {`#Date & {max: "2024-12-31"}`, "SELECT CASE WHEN kind = 'a' THEN DATE '2024-07-01' ELSE d END AS c FROM o", ""},
		"a condition after the max":        {"#Timestamp", "SELECT t AS c FROM o WHERE t > '2024-12-31'", apart},
		"a condition at the max":           {"#Timestamp", "SELECT t AS c FROM o WHERE t >= '2024-12-31'", ""},
		"a condition before the min":       {"#Timestamp", "SELECT t AS c FROM o WHERE t < TIMESTAMP '2024-01-01'", apart},
		"a day after the max":              {"#Timestamp", "SELECT t AS c FROM o WHERE d = DATE '2025-01-01'", apart},
		"a day of the other year":          {"#Timestamp", "SELECT t AS c FROM o WHERE d = DATE '2024-02-29'", ""},
		"between days after the max":       {"#Timestamp", "SELECT t AS c FROM o WHERE t BETWEEN '2025-01-01' AND '2025-12-31'", apart},
		"between days before the min":      {"#Timestamp", "SELECT t AS c FROM o WHERE t BETWEEN '2023-01-01' AND '2023-12-31'", apart},
		"between days of which some are":   {"#Timestamp", "SELECT t AS c FROM o WHERE t BETWEEN '2023-01-01' AND '2024-01-31'", ""},
		"either":                           {"#Timestamp", "SELECT t AS c FROM o WHERE t > '2025-01-01' OR kind = 'a'", ""},
		"a year that is none of them":      {"#Timestamp", "SELECT t AS c FROM o WHERE year(t) = 2025", apart},
		"a year that is":                   {"#Timestamp", "SELECT t AS c FROM o WHERE year(t) = 2024", ""},
		"a point in time":                  {`#TimestampTZ & {max: "2024-12-31T01:00:00+01:00"}`, "SELECT z AS c FROM o", ""},
		"a point in time an hour later":    {`#TimestampTZ & {max: "2024-12-31T00:00:00+01:00"}`, "SELECT z AS c FROM o", some("2024-12-31")},
		"the latest":                       {`#Timestamp & {max: "2024-12-31"}`, "SELECT max(t) AS c FROM o GROUP BY kind", ""},
		"a window":                         {`#Timestamp & {max: "2024-12-31"}`, "SELECT max(t) OVER (PARTITION BY kind ORDER BY t, id) AS c FROM o", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": fmt.Sprintf(timed, tt.query, tt.column)}, tt.want)
		})
	}
}

const timed = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "shop"

sources: orders: source.#CSV & {
	path: "orders.csv"
	schema: {
		id:   col.#Int64
		t:    col.#Timestamp & {min: "2024-01-01", max: "2024-12-31"}
		z:    col.#TimestampTZ & {min: "2024-01-01", max: "2024-12-31"}
		d:    col.#Date & {min: "2024-01-01", max: "2024-12-31"}
		u:    col.#Timestamp
		kind: col.#String
	}
}

features: f: feature.#SQL & {
	in: o: sources.orders.out
	sql: "%s"
	schema: c: col.%s
}
`

// A bound is a value of its column.
func TestBoundsOfColumns(t *testing.T) {
	const none = `the min of column "c" of sources.s is no value of a `
	for name, tt := range map[string]struct{ column, want string }{
		"a date":                       {`col.#Date & {min: "2024-07-01"}`, ""},
		"a date with a time":           {`col.#Date & {min: "2024-07-01 12:00"}`, none + "date"},
		"no date":                      {`col.#Date & {min: "2024-02-30"}`, none + "date"},
		"another form":                 {`col.#Date & {min: "01.07.2024"}`, none + "date"},
		"a time":                       {`col.#Timestamp & {min: "2024-07-01 12:00:00"}`, ""},
		"a day":                        {`col.#Timestamp & {min: "2024-07-01"}`, ""},
		"a time with a zone":           {`col.#Timestamp & {min: "2024-07-01T12:00:00Z"}`, none + "timestamp"},
		"a point in time":              {`col.#TimestampTZ & {min: "2024-07-01T12:00:00+02:00"}`, ""},
		"a time of no zone":            {`col.#TimestampTZ & {min: "2024-07-01 12:00:00"}`, ""},
		"finer than a microsecond":     {`col.#Timestamp & {min: "2024-07-01 12:00:00.0000001"}`, none + "timestamp"},
		"a number of a date":           {`{type: "date", min: 2024}`, none + "date"},
		"a text of a number":           {`{type: "int64", min: "5"}`, none + "int64"},
		"a text":                       {`{type: "string", min: "2024-07-01"}`, `column "c" of sources.s is a string, which has no min or max`},
		"a time of day":                {`{type: "time", min: "12:00:00"}`, `column "c" of sources.s is a time, which has no min or max`},
		"in order":                     {`col.#Date & {min: "2024-07-01", max: "2024-07-01"}`, ""},
		"not in order":                 {`col.#Date & {min: "2024-07-02", max: "2024-07-01"}`, `column "c" of sources.s has a min above its max`},
		"in order, in different zones": {`col.#TimestampTZ & {min: "2024-07-01T12:00:00+02:00", max: "2024-07-01T11:00:00Z"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": "package shop\n\nimport (\n\t\"tenon.dev/col\"\n\t\"tenon.dev/source\"\n\t\"tenon.dev/tenon\"\n)\n\ntenon.#System\nname: \"shop\"\n_date: col.#Date\n\nsources: s: source.#CSV & {\n\tpath: \"s.csv\"\n\tschema: c: " + tt.column + "\n}\n"}, tt.want)
		})
	}
}
