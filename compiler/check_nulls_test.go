package compiler_test

import (
	"fmt"
	"strings"
	"testing"
)

// Every query that can give a null has a sound twin.
func TestNulls(t *testing.T) {
	const null = "features.f.x may be null, but its schema declares it non-nullable"
	const key = "features.f.id may be null, but its schema declares it non-nullable"
	for name, tt := range map[string]struct{ query, x, more, want string }{
		"a left join":                                 {`SELECT o.id, c.city AS x FROM o LEFT JOIN c ON o.clinic = c.clinic`, "String", "", null},
		"a left join that is coalesced":               {`SELECT o.id, coalesce(c.city, '?') AS x FROM o LEFT JOIN c ON o.clinic = c.clinic`, "String", "", ""},
		"an inner join":                               {`SELECT o.id, c.city AS x FROM o JOIN c ON o.clinic = c.clinic`, "String", "", ""},
		"a left join whose match is required":         {`SELECT o.id, c.city AS x FROM o LEFT JOIN c USING (clinic) WHERE c.size > 3`, "String", "", ""},
		"a left join whose match is asked for":        {`SELECT o.id, CASE WHEN c.clinic IS NOT NULL THEN c.city ELSE '?' END AS x FROM o LEFT JOIN c ON o.clinic = c.clinic`, "String", "", ""},
		"a left join with a condition on the left":    {`SELECT o.id, c.city AS x FROM o LEFT JOIN c ON o.clinic = c.clinic WHERE o.amount > 3`, "String", "", null},
		"a left join through a subquery":              {`SELECT id, x FROM (SELECT o.id, c.city AS x FROM o LEFT JOIN c USING (clinic))`, "String", "", null},
		"a left join through a subquery, selected":    {`SELECT id, x FROM (SELECT o.id, c.city AS x, c.size FROM o LEFT JOIN c USING (clinic)) WHERE size > 0`, "String", "", ""},
		"a left join by a foreign key":                {`SELECT r.id, c.city AS x FROM r LEFT JOIN c ON r.clinic = c.clinic`, "String", "", ""},
		"a left join by USING, by a foreign key":      {`SELECT id, city AS x FROM r LEFT JOIN c USING (clinic)`, "String", "", ""},
		"a left join by a foreign key and more":       {`SELECT r.id, c.city AS x FROM r LEFT JOIN c ON r.clinic = c.clinic AND c.size > 3`, "String", "", null},
		"a left join by a foreign key of some rows":   {`SELECT r.id, s.city AS x FROM r LEFT JOIN (SELECT * FROM c WHERE size > 3) s ON r.clinic = s.clinic`, "String", "", null},
		"a left join by a foreign key that is null":   {`SELECT r.id, c.city AS x FROM r LEFT JOIN c ON r.other = c.clinic`, "String", "", null},
		"a left join of a table with itself":          {`SELECT o.id, s.m AS x FROM o LEFT JOIN (SELECT clinic, max(amount) AS m FROM o GROUP BY clinic) s USING (clinic)`, "Int64", "", ""},
		"a right join":                                {`SELECT c.clinic AS id, o.amount AS x FROM o RIGHT JOIN c ON o.clinic = c.clinic`, "Int64", "", null},
		"a right join for its right side":             {`SELECT c.clinic AS id, c.size AS x FROM o RIGHT JOIN c ON o.clinic = c.clinic`, "Int64", "", ""},
		"a full join":                                 {`SELECT coalesce(o.id, 0) AS id, c.size AS x FROM o FULL JOIN c ON o.clinic = c.clinic`, "Int64", "", null},
		"a full join that is coalesced":               {`SELECT coalesce(o.id, 0) AS id, coalesce(c.size, o.amount) AS x FROM o FULL JOIN c ON o.clinic = c.clinic`, "Int64", "", ""},
		"an ASOF left join":                           {`SELECT o.id, c.size AS x FROM o ASOF LEFT JOIN c ON o.t >= c.since`, "Int64", "", null},
		"an ASOF join":                                {`SELECT o.id, c.size AS x FROM o ASOF JOIN c ON o.t >= c.since`, "Int64", "", ""},
		"two left joins":                              {`SELECT o.id, d.size AS x FROM o LEFT JOIN c ON o.clinic = c.clinic LEFT JOIN c AS d ON c.size = d.clinic`, "Int64", "", ""},
		"lag":                                         {`SELECT id, lag(amount) OVER (ORDER BY t, id) AS x FROM o`, "Int64", "", null},
		"lag with a default":                          {`SELECT id, lag(amount, 1, 0) OVER (ORDER BY t, id) AS x FROM o`, "Int64", "", ""},
		"lag that is coalesced":                       {`SELECT id, coalesce(lag(amount) OVER (ORDER BY t, id), 0) AS x FROM o`, "Int64", "", ""},
		"lag after the first row":                     {`SELECT id, lag(amount) OVER (ORDER BY t, id) AS x FROM o QUALIFY row_number() OVER (ORDER BY t, id) > 1`, "Int64", "", ""},
		"lag after the first row of a subquery":       {`SELECT id, x FROM (SELECT id, lag(amount) OVER (ORDER BY t, id) AS x, row_number() OVER (ORDER BY t, id) AS n FROM o) WHERE n > 1`, "Int64", "", ""},
		"lag of selected rows":                        {`SELECT id, lag(amount) OVER (ORDER BY t, id) AS x FROM o WHERE amount > 2`, "Int64", "", null},
		"lag in a sum":                                {`SELECT id, amount - lag(amount) OVER (ORDER BY t, id) AS x FROM o`, "Int64", "", null},
		"lag in a CASE that compares it":              {`SELECT id, CASE WHEN y < 0 THEN 0 ELSE y END AS x FROM (SELECT id, amount - lag(amount) OVER (ORDER BY t, id) AS y FROM o)`, "Int64", "", null},
		"lag in a CASE that finds nulls":              {`SELECT id, CASE WHEN y IS NULL THEN 0 ELSE y END AS x FROM (SELECT id, amount - lag(amount) OVER (ORDER BY t, id) AS y FROM o)`, "Int64", "", ""},
		"lag in a CASE of later rows":                 {`SELECT id, CASE WHEN n > 1 THEN y ELSE 0 END AS x FROM (SELECT id, row_number() OVER (ORDER BY t, id) AS n, lag(amount) OVER (ORDER BY t, id) AS y FROM o)`, "Int64", "", ""},
		"lag in a CASE":                               {`SELECT id, CASE WHEN row_number() OVER (ORDER BY t, id) > 1 THEN lag(amount) OVER (ORDER BY t, id) ELSE 0 END AS x FROM o`, "Int64", "", ""},
		"lag whose presence is required":              {`SELECT id, lag(amount) OVER (ORDER BY t, id) AS x FROM o QUALIFY x IS NOT NULL`, "Int64", "", ""},
		"lead":                                        {`SELECT id, lead(amount) OVER (ORDER BY t, id) AS x FROM o`, "Int64", "", null},
		"lag of the row itself":                       {`SELECT id, lag(amount, 0) OVER (ORDER BY t, id) AS x FROM o`, "Int64", "", ""},
		"a frame of earlier rows":                     {`SELECT id, max(amount) OVER (ORDER BY t, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS x FROM o`, "Int64", "", null},
		"a frame with the row":                        {`SELECT id, max(amount) OVER (ORDER BY t, id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS x FROM o`, "Int64", "", ""},
		"a count over earlier rows":                   {`SELECT id, count(*) OVER (ORDER BY t, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS x FROM o`, "Int64", "", ""},
		"a frame without the row":                     {`SELECT id, max(amount) OVER (ORDER BY t, id ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW) AS x FROM o`, "Int64", "", null},
		"the first value":                             {`SELECT id, first_value(amount) OVER (ORDER BY t, id) AS x FROM o`, "Int64", "", ""},
		"an aggregate of no rows":                     {`SELECT 1::BIGINT AS id, max(amount) AS x FROM o WHERE status = 'paid'`, "Int64", "", null},
		"an aggregate of all rows":                    {`SELECT 1::BIGINT AS id, max(amount) AS x FROM o`, "Int64", "", ""},
		"a count of no rows":                          {`SELECT 1::BIGINT AS id, count(amount) AS x FROM o`, "Int64", "", ""},
		"an aggregate of groups":                      {`SELECT id, max(amount) AS x FROM o GROUP BY id`, "Int64", "", ""},
		"an aggregate of a column that is nullable":   {`SELECT id, max(tip) AS x FROM o GROUP BY id`, "Int64", "", null},
		"an aggregate of a column without its nulls":  {`SELECT id, max(tip) AS x FROM o WHERE tip IS NOT NULL GROUP BY id`, "Int64", "", ""},
		"an aggregate with FILTER":                    {`SELECT id, max(amount) FILTER (WHERE amount > 3) AS x FROM o GROUP BY id`, "Int64", "", null},
		"an aggregate with FILTER that always holds":  {`SELECT id, max(amount) FILTER (WHERE n >= 1) AS x FROM o GROUP BY id`, "Int64", "", ""},
		"an aggregate with FILTER and HAVING":         {`SELECT id, max(amount) FILTER (WHERE amount > 3) AS x FROM o GROUP BY id HAVING count(*) FILTER (WHERE amount > 3) > 0`, "Int64", "", ""},
		"an aggregate of a CASE":                      {`SELECT id, max(CASE WHEN status = 'paid' THEN amount END) AS x FROM o GROUP BY id`, "Int64", "", null},
		"an aggregate of a CASE with ELSE":            {`SELECT id, max(CASE WHEN status = 'paid' THEN amount ELSE 0 END) AS x FROM o GROUP BY id`, "Int64", "", ""},
		"a deviation of one row":                      {`SELECT id, stddev_samp(amount) AS x FROM o GROUP BY id`, "Float64", "", null},
		"a deviation of one row or more":              {`SELECT id, stddev_samp(amount) AS x FROM o GROUP BY id HAVING count(*) >= 1`, "Float64", "", null},
		"a deviation of several rows":                 {`SELECT id, stddev_samp(amount) AS x FROM o GROUP BY id HAVING count(*) > 1`, "Float64", "", ""},
		"a deviation of the population":               {`SELECT id, stddev_pop(amount) AS x FROM o GROUP BY id`, "Float64", "", ""},
		"a scalar subquery":                           {`SELECT id, (SELECT max(size) FROM c WHERE clinic > 9) AS x FROM o`, "Int64", "", null},
		"a scalar subquery of all rows":               {`SELECT id, (SELECT max(size) FROM c) AS x FROM o`, "Int64", "", ""},
		"a value of a table of one row":               {`SELECT id, (SELECT size FROM c) AS x FROM o`, "Int64", "", ""},
		"a scalar subquery that is coalesced":         {`SELECT id, coalesce((SELECT max(size) FROM c), 0) AS x FROM o`, "Int64", "", ""},
		"a scalar subquery of the same rows":          {`SELECT id, (SELECT max(amount) FROM o) AS x FROM o`, "Int64", "", ""},
		"a scalar subquery that counts":               {`SELECT id, (SELECT count(*) FROM c WHERE c.clinic = o.clinic) AS x FROM o`, "Int64", "", ""},
		"a scalar subquery without a row":             {`SELECT id, (SELECT size FROM c WHERE c.clinic = o.clinic) AS x FROM o`, "Int64", "", null},
		"a scalar subquery by a foreign key":          {`SELECT id, (SELECT size FROM c WHERE c.clinic = r.clinic) AS x FROM r`, "Int64", "", ""},
		"an aggregate of all rows, joined with them":  {`SELECT id, m AS x FROM o, (SELECT max(amount) AS m FROM o)`, "Int64", "", ""},
		"a whole division":                            {`SELECT id, amount // d AS x FROM o`, "Int64", "", null},
		"a remainder":                                 {`SELECT id, amount % d AS x FROM o`, "Int64", "", null},
		"a whole division by a positive column":       {`SELECT id, amount // n AS x FROM o`, "Int64", "", ""},
		"a whole division by a constant":              {`SELECT id, amount // 7 AS x FROM o`, "Int64", "", ""},
		"a whole division that WHERE guards":          {`SELECT id, amount // d AS x FROM o WHERE d <> 0`, "Int64", "", ""},
		"a whole division that a CTE guards":          {`WITH q AS (SELECT * FROM o WHERE d > 0) SELECT id, amount // d AS x FROM q`, "Int64", "", ""},
		"a whole division that WHERE does not guard":  {`SELECT id, amount // d AS x FROM o WHERE d >= 0`, "Int64", "", null},
		"a whole division that CASE guards":           {`SELECT id, CASE WHEN d = 0 THEN 0 ELSE amount // d END AS x FROM o`, "Int64", "", ""},
		"a whole division that CASE guards wrongly":   {`SELECT id, CASE WHEN d < 0 THEN 0 ELSE amount // d END AS x FROM o`, "Int64", "", null},
		"a division of floats":                        {`SELECT id, amount / d AS x FROM o`, "Float64 & {nan: true}", "", ""},
		"a whole division by what is not zero":        {`SELECT id, coalesce(amount // nullif(d, 0), 0) AS x FROM o`, "Int64", "", ""},
		"nullif":                                      {`SELECT id, nullif(d, 0) AS x FROM o`, "Int64", "", null},
		"nullif of what it never is":                  {`SELECT id, nullif(n, 0) AS x FROM o`, "Int64", "", ""},
		"TRY_CAST":                                    {`SELECT id, TRY_CAST(text AS BIGINT) AS x FROM o`, "Int64", "", null},
		"TRY_CAST that is coalesced":                  {`SELECT id, coalesce(TRY_CAST(text AS BIGINT), 0) AS x FROM o`, "Int64", "", ""},
		"TRY_CAST of a trimmed text":                  {`SELECT id, TRY_CAST(replace(trim(text), '<', '') AS BIGINT) AS x FROM o`, "Int64", "", null},
		"TRY_CAST of a part of a text":                {`SELECT id, TRY_CAST(regexp_extract(text, '[0-9]') AS BIGINT) AS x FROM o`, "Int64", "", ""},
		"TRY_CAST that is guarded":                    {`SELECT id, TRY_CAST(text AS BIGINT) AS x FROM o WHERE regexp_full_match(text, '[0-9]+')`, "Int64", "", ""},
		"CASE without ELSE":                           {`SELECT id, CASE WHEN amount > 3 THEN 1::BIGINT END AS x FROM o`, "Int64", "", null},
		"CASE with ELSE":                              {`SELECT id, CASE WHEN amount > 3 THEN 1::BIGINT ELSE 2 END AS x FROM o`, "Int64", "", ""},
		"CASE with all values":                        {`SELECT id, CASE status WHEN 'open' THEN 1::BIGINT WHEN 'paid' THEN 2 END AS x FROM o`, "Int64", "", ""},
		"CASE without a value":                        {`SELECT id, CASE status WHEN 'open' THEN 1::BIGINT END AS x FROM o`, "Int64", "", null},
		"CASE with all numbers":                       {`SELECT id, CASE WHEN amount > 3 THEN 1::BIGINT WHEN amount <= 3 THEN 2 END AS x FROM o`, "Int64", "", ""},
		"CASE without a number":                       {`SELECT id, CASE WHEN amount > 3 THEN 1::BIGINT WHEN amount < 3 THEN 2 END AS x FROM o`, "Int64", "", null},
		"CASE without null":                           {`SELECT id, CASE WHEN tip > 3 THEN 1::BIGINT WHEN tip <= 3 THEN 2 END AS x FROM o`, "Int64", "", null},
		"CASE of rows that WHERE selects":             {`SELECT id, CASE WHEN amount > 3 THEN 1::BIGINT END AS x FROM o WHERE amount > 5`, "Int64", "", ""},
		"a NULL for rows that cannot be":              {`SELECT id, CASE WHEN n = 0 THEN NULL ELSE amount END AS x FROM o`, "Int64", "", ""},
		"a NULL for some rows":                        {`SELECT id, CASE WHEN d = 0 THEN NULL ELSE amount END AS x FROM o`, "Int64", "", null},
		"a nullable column":                           {`SELECT id, tip AS x FROM o`, "Int64", "", null},
		"a nullable column by a star":                 {`SELECT * FROM (SELECT id, tip AS x FROM o)`, "Int64", "", null},
		"a nullable column that is present":           {`SELECT id, tip AS x FROM o WHERE tip IS NOT NULL`, "Int64", "", ""},
		"a nullable column that is compared":          {`SELECT id, tip AS x FROM o WHERE tip > 0`, "Int64", "", ""},
		"a nullable column with NOT":                  {`SELECT id, tip AS x FROM o WHERE NOT (tip IS NULL OR amount > 3)`, "Int64", "", ""},
		"a nullable column that is computed with":     {`SELECT id, tip + amount AS x FROM o`, "Int64", "", null},
		"a nullable column that another one flags":    {`SELECT id, x FROM (SELECT id, tip AS x, tip IS NULL AS without FROM o) WHERE NOT without`, "Int64", "", ""},
		"a nullable column of CASE":                   {`SELECT id, CASE WHEN tip IS NULL THEN 0 ELSE tip END AS x FROM o`, "Int64", "", ""},
		"a nullable column of a join":                 {`SELECT o.id, c.size AS x FROM o JOIN c ON o.tip = c.clinic`, "Int64", "", ""},
		"the nullable column of a join":               {`SELECT o.id, o.tip AS x FROM o JOIN c ON o.tip = c.clinic`, "Int64", "", ""},
		"another nullable column of a join":           {`SELECT o.id, o.tip AS x FROM o JOIN c ON o.clinic = c.clinic`, "Int64", "", null},
		"a nullable column and a subquery":            {`SELECT id, tip AS x FROM o WHERE id IN (SELECT id FROM o WHERE tip > 0)`, "Int64", "", ""},
		"IS NULL OR":                                  {`SELECT id, tip IS NULL OR tip > 3 AS x FROM o`, "Bool", "", ""},
		"a union with NULL":                           {`SELECT id, amount AS x FROM o UNION ALL SELECT clinic, NULL FROM c`, "Int64", "", null},
		"a union":                                     {`SELECT id, amount AS x FROM o UNION ALL SELECT clinic, size FROM c`, "Int64", "", ""},
		"a union by name":                             {`SELECT id, amount AS x FROM o UNION ALL BY NAME SELECT clinic AS id FROM c`, "Int64", "", null},
		"a union by name of both":                     {`SELECT id, amount AS x FROM o UNION ALL BY NAME SELECT size AS x, clinic AS id FROM c`, "Int64", "", ""},
		"a JSON path":                                 {`SELECT id, json_extract_string(text, '$.a') AS x FROM o`, "String", "", null},
		"a table function":                            {`SELECT o.id, r AS x FROM o LEFT JOIN range(3) AS q(r) ON q.r = o.amount`, "Int64", "", ""},
		"a nullable key":                              {`SELECT tip AS id, amount AS x FROM o`, "Int64", `keys: ["id"]`, key},
		"a unique column":                             {`SELECT id, tip AS x FROM o`, "Int64 & {unique: true}", "", null},
		"a column that is trusted":                    {`SELECT id, tip AS x FROM o`, "Int64", `trust: ["x"]`, ""},
		"a column that needs no trust":                {`SELECT id, amount AS x FROM o`, "Int64", `trust: ["x"]`, ""},
		"trust in a column that does not exist":       {`SELECT id, amount AS x FROM o`, "Int64", `trust: ["y"]`, `features.f trusts a column "y" that it does not have`},
		"a column that is declared nullable":          {`SELECT id, tip AS x FROM o`, "Int64 & {nullable: true}", "", ""},
		"a rollup":                                    {`SELECT coalesce(id, 0) AS id, n AS x FROM o GROUP BY ROLLUP (id, n)`, "Int64", "", null},
		"a rollup of a column in all sets":            {`SELECT coalesce(id, 0) AS id, n AS x FROM o GROUP BY n, ROLLUP (id)`, "Int64", "", ""},
		"a rollup whose totals are marked":            {`SELECT coalesce(id, 0) AS id, coalesce(n, 0) AS x FROM o GROUP BY ROLLUP (id, n)`, "Int64", "", ""},
		"a rollup without its totals":                 {`SELECT id, n AS x FROM o GROUP BY ROLLUP (id, n) HAVING n IS NOT NULL`, "Int64", "", ""},
		"a value of PIVOT":                            {`SELECT id, paid AS x FROM (SELECT id, status, amount FROM o) PIVOT (max(amount) FOR status IN ('paid'))`, "Int64", "", null},
		"a value of PIVOT that is coalesced":          {`SELECT id, coalesce(paid, 0) AS x FROM (SELECT id, status, amount FROM o) PIVOT (max(amount) FOR status IN ('paid'))`, "Int64", "", ""},
		"a count of PIVOT":                            {`SELECT id, paid AS x FROM (SELECT id, status FROM o) PIVOT (count(*) FOR status IN ('paid'))`, "Int64", "", ""},
		"UNPIVOT":                                     {`SELECT id, x FROM (SELECT id, tip FROM o) UNPIVOT (x FOR name IN (tip))`, "Int64", "", ""},
		"UNPIVOT with nulls":                          {`SELECT id, x FROM (SELECT id, tip FROM o) UNPIVOT INCLUDE NULLS (x FOR name IN (tip))`, "Int64", "", null},
		"VALUES with a null":                          {`SELECT o.id, v.x FROM o CROSS JOIN (VALUES (1::BIGINT), (NULL)) AS v(x)`, "Int64", "", null},
		"VALUES":                                      {`SELECT o.id, v.x FROM o CROSS JOIN (VALUES (1::BIGINT), (2)) AS v(x)`, "Int64", "", ""},
		"a field that is nullable":                    {`SELECT id, s.a AS x FROM (SELECT id, {'a': tip, 'b': amount} AS s FROM o)`, "Int64", "", null},
		"a field that is not":                         {`SELECT id, s.b AS x FROM (SELECT id, {'a': tip, 'b': amount} AS s FROM o)`, "Int64", "", ""},
		"a field of a struct without a match":         {`SELECT o.id, q.s.b AS x FROM o LEFT JOIN (SELECT clinic, {'b': size} AS s FROM c) AS q ON o.clinic = q.clinic`, "Int64", "", null},
		"a field of a struct with a match":            {`SELECT o.id, q.s.b AS x FROM o JOIN (SELECT clinic, {'b': size} AS s FROM c) AS q ON o.clinic = q.clinic`, "Int64", "", ""},
		"an element that is nullable":                 {`SELECT id, unnest([tip]) AS x FROM o`, "Int64", "", null},
		"an element that is not":                      {`SELECT id, unnest([amount]) AS x FROM o`, "Int64", "", ""},
		"COLUMNS":                                     {`SELECT id, COLUMNS('tip') AS x FROM o`, "Int64", "", null},
		"COLUMNS without nulls":                       {`SELECT id, COLUMNS('amount') AS x FROM o`, "Int64", "", ""},
		"a renamed column":                            {`SELECT * EXCLUDE (t, clinic, amount, n, d, status, text) RENAME (tip AS x) FROM o`, "Int64", "", null},
		"a lateral subquery without rows":             {`SELECT o.id, l.x FROM o, LATERAL (SELECT max(c.size) AS x FROM c WHERE c.clinic = o.clinic) AS l`, "Int64", "", null},
		"a lateral subquery of the row":               {`SELECT o.id, l.x FROM o, LATERAL (SELECT o.amount + 1 AS x) AS l`, "Int64", "", ""},
		"a recursive query":                           {`WITH RECURSIVE r AS (SELECT id, amount AS x FROM o UNION ALL SELECT id, x + 1 FROM r WHERE x < 3) SELECT id, x FROM r`, "Int64", "", ""},
		"a left join, selected by its other side":     {`SELECT o.id, o.tip AS x FROM o LEFT JOIN c ON o.tip = c.clinic WHERE c.size > 3`, "Int64", "", ""},
		"a left join, selected by a part of it":       {`SELECT o.id, o.tip AS x FROM o LEFT JOIN c ON o.clinic = c.clinic WHERE c.size > 3`, "Int64", "", null},
		"a foreign key that is not null after all":    {`SELECT r.id, c.city AS x FROM r LEFT JOIN c ON r.other = c.clinic WHERE r.other > 3`, "String", "", ""},
		"a nullable column of another feature's rows": {`WITH q AS (SELECT id, tip FROM o) SELECT a.id, b.tip AS x FROM q a JOIN q b ON a.id = b.id`, "Int64", "", null},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": clinics(tt.query, tt.x, tt.more)}, tt.want)
		})
	}
}

func clinics(query, x, more string) string {
	in := ""
	for _, input := range []struct{ name, source string }{{"o", "orders"}, {"c", "clinics"}, {"r", "referring"}} {
		if mentions(query, input.name) {
			in += fmt.Sprintf("\t\t%s: sources.%s.out\n", input.name, input.source)
		}
	}
	return fmt.Sprintf(nullable, in, query, x, more)
}

func mentions(query, table string) bool {
	for _, word := range []string{"FROM ", "JOIN "} {
		for _, end := range []string{" ", ")", ","} {
			if strings.Contains(query+" ", word+table+end) {
				return true
			}
		}
	}
	return false
}

const nullable = `package shop

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
		id:     col.#Int64
		t:      col.#Timestamp
		clinic: col.#Int64
		amount: col.#Int64
		n:      col.#Int64 & {min: 1}
		d:      col.#Int64
		tip:    col.#Int64 & {nullable: true}
		status: col.#String & {values: ["open", "paid"]}
		text:   col.#String
	}
}
sources: clinics: source.#CSV & {
	path: "clinics.csv"
	keys: ["clinic"]
	schema: {
		clinic: col.#Int64
		city:   col.#String
		size:   col.#Int64
		since:  col.#Timestamp
	}
}
sources: referring: source.#CSV & {
	path: "referring.csv"
	references: clinic: {table: sources.clinics.out, columns: clinic: "clinic"}
	references: other: {table: sources.clinics.out, columns: other: "clinic"}
	schema: {
		id:     col.#Int64
		clinic: col.#Int64
		other:  col.#Int64 & {nullable: true}
	}
}

features: f: feature.#SQL & {
	in: {
%s	}
	sql: """
		%s
		"""
	schema: {
		id: col.#Int64
		x:  col.#%s
	}
	%s
}
`
