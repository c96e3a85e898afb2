package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

func TestTextsThatDoNotConvert(t *testing.T) {
	c := newChecker(t)
	tables := map[string]ir.Schema{"v": {{Name: "day", Type: "date"}, {Name: "n", Type: "int64"}, {Name: "s", Type: "string"}, {Name: "t", Type: "timestamptz"}}}
	for query, want := range map[string]string{
		"SELECT 1 AS x FROM v WHERE day = '2024-02-29'":                             "",
		"SELECT 1 AS x FROM v WHERE day = '2023-02-29'":                             "2023-02-29 is no DATE",
		"SELECT 1 AS x FROM v WHERE '01.07.2024' < day":                             "01.07.2024 is no DATE",
		"SELECT 1 AS x FROM v WHERE day BETWEEN '2024-01-01' AND '2024-13-01'":      "2024-13-01 is no DATE",
		"SELECT 1 AS x FROM v WHERE day IN ('2024-01-01', 'today?')":                "today? is no DATE",
		"SELECT 1 AS x FROM v WHERE day > DATE '2024-06-31'":                        "2024-06-31 is no DATE",
		"SELECT 1 AS x FROM v WHERE day > DATE '2024-06-30'":                        "",
		"SELECT 1 AS x FROM v WHERE day > CAST('x' AS DATE)":                        "x is no DATE",
		"SELECT 1 AS x FROM v WHERE day > TRY_CAST('x' AS DATE)":                    "",
		"SELECT 1 AS x FROM v WHERE day > day - INTERVAL '7 days'":                  "",
		"SELECT 1 AS x FROM v WHERE day > day - INTERVAL '7 dayz'":                  "7 dayz is no INTERVAL",
		"SELECT 1 AS x FROM v WHERE n = '12'":                                       "",
		"SELECT 1 AS x FROM v WHERE n = '1,2'":                                      "1,2 is no BIGINT",
		"SELECT 1 AS x FROM v WHERE s = '1,2'":                                      "",
		"SELECT 1 AS x FROM v WHERE t > '2024-01-01 25:00:00'":                      "2024-01-01 25:00:00 is no TIMESTAMP WITH TIME ZONE",
		"SELECT 1 AS x FROM v AS w JOIN v ON w.n = v.n AND w.day > 'yesterday?'":    "yesterday? is no DATE",
		"SELECT CAST('12' AS INTEGER) AS x FROM v":                                  "",
		"SELECT CAST('it''s' AS INTEGER) AS x FROM v":                               "it's is no INTEGER",
		"SELECT date_trunc('mnth', t) AS x FROM v":                                  "mnth is no unit of time",
		"SELECT date_trunc('Month', t) AS x FROM v":                                 "",
		"SELECT date_diff('minuets', day, day) AS x FROM v":                         "minuets is no unit of time",
		"SELECT datediff('minutes', t, t) AS x FROM v":                              "",
		"SELECT extract(isodow FROM day) + date_part('epoch', t) AS x FROM v":       "",
		"SELECT date_part(s, t) AS x FROM v":                                        "",
		"SELECT strptime('31/01/2024', '%m/%d/%Y') AS x FROM v":                     "31/01/2024 is no time in the format '%m/%d/%Y'",
		"SELECT strptime('31/01/2024', '%d/%m/%Y') AS x FROM v":                     "",
		"SELECT try_strptime('31/01/2024', '%m/%d/%Y') AS x FROM v":                 "",
		"SELECT strptime(s, '%m/%d/%Y') AS x FROM v":                                "",
		"SELECT true AS x FROM v":                                                   "",
		"SELECT CAST('1,5' AS DECIMAL(10, 2)) AS x FROM v":                          "1,5 is no DECIMAL(10,2)",
		"SELECT CAST('1.5' AS DECIMAL(10, 2)) AS x FROM v":                          "",
		"SELECT CAST(300 AS UTINYINT) AS x FROM v":                                  "300 is no UTINYINT",
		"SELECT CAST(200 AS UTINYINT) AS x FROM v":                                  "",
		"SELECT CAST(300 AS INTEGER) AS x FROM v":                                   "",
		"SELECT CAST(300.7 AS INTEGER) AS x FROM v":                                 "",
		"SELECT TRY_CAST(300 AS UTINYINT) AS x FROM v":                              "",
		"SELECT day + INTERVAL '3 mouths' AS x FROM v":                              "3 mouths is no INTERVAL",
		"SELECT day + INTERVAL '3 months' AS x FROM v":                              "",
		"SELECT day + INTERVAL 'three' DAY AS x FROM v":                             "three is no DOUBLE",
		"SELECT day + INTERVAL '3' DAY AS x FROM v":                                 "",
		"SELECT strptime('2024-02-30', '%Y-%m-%d') AS x FROM v":                     "2024-02-30 is no time in the format '%Y-%m-%d'",
		"SELECT strptime('2024-02-29', '%Y-%m-%d') AS x FROM v":                     "",
		"SELECT strptime(s, '%Y-%m-%d') AS x FROM v":                                "",
		"SELECT try_strptime('2024-02-30', '%Y-%m-%d') AS x FROM v":                 "",
		"SELECT t AT TIME ZONE 'Europe/Berln' AS x FROM v":                          "Europe/Berln is no time zone",
		"SELECT t AT TIME ZONE 'Europe/Berlin' AS x FROM v":                         "",
		"SELECT date_diff('dy', day, day) AS x FROM v":                              "dy is no unit of time",
		"SELECT date_diff('day', day, day) AS x FROM v":                             "",
		"SELECT regexp_replace(s, '[', 'x') AS x FROM v":                            "[ is no regular expression",
		"SELECT regexp_replace(s, '[a-z]', 'x') AS x FROM v":                        "",
		"SELECT make_date(2024, 2, 30) AS x FROM v":                                 "make_date(2024, 2, 30): Date out of range: 2024-2-30",
		"SELECT make_date(2024, 2, 29) AS x FROM v":                                 "",
		"SELECT x FROM (SELECT ln(1 - 1) AS x FROM v)":                              "ln((1 - 1)): cannot take logarithm of zero",
		"SELECT ln(2 - 1) AS x FROM v":                                              "",
		"SELECT n + 2147483647 * 3 AS x FROM v":                                     "(2147483647 * 3): Overflow in multiplication of INT32 (2147483647 * 3)!",
		"SELECT n + 2147483647::BIGINT * 3 AS x FROM v":                             "",
		"SELECT x FROM (SELECT sqrt(-4) + 1 AS x FROM v WHERE n > 0)":               "sqrt(-4): cannot take square root of a negative number",
		"SELECT TRY(make_date(2024, 2, 30)) AS x FROM v":                            "",
		"SELECT CASE WHEN 2023 % 4 = 0 THEN make_date(2023, 2, 29) END AS x FROM v": "",
		"SELECT coalesce(day, make_date(2023, 2, 29)) AS x FROM v":                  "",
		"SELECT day AS x FROM v WHERE false AND day = make_date(2023, 2, 29)":       "",
		"SELECT CASE WHEN n < 0 THEN error('negative') ELSE n END AS x FROM v":      "",
		"SELECT error('not yet') AS x FROM v":                                       "",
		"SELECT day + INTERVAL 7 DAY AS x FROM v":                                   "",
		"SELECT DATE '2024-02-29' + INTERVAL 1 YEAR AS x FROM v":                    "",
		"SELECT sum(1) FILTER (WHERE n > 0) + ln(0) AS x FROM v":                    "ln(0): cannot take logarithm of zero",
		"SELECT format('{:d}', 'x') AS x FROM v":                                    `format('{:d}', 'x'): Invalid type specifier "d" for formatting a value of type string`,
		"SELECT DATE '2024-02-30' + 1 AS x FROM v":                                  "2024-02-30 is no DATE",
		"SELECT list_extract(string_split('a,b', ','), 3) AS x FROM v":              "",
		"SELECT make_date(n, 2, 30) AS x FROM v":                                    "",
	} {
		var d duck.Description
		if err := c.Analyse(context.Background(), tables, query, &d); err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		var got []string
		for _, m := range d.Misfits {
			if m.Fault != "" {
				got = append(got, m.Text+": "+m.Fault)
				continue
			}
			got = append(got, fmt.Sprintf("%s is no %s", m.Text, m.Type))
		}
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("%s: %q, want %q", query, s, want)
		}
	}
}
