package compiler_test

import (
	"fmt"
	"testing"
)

// Every leak has a sound twin: a query of the same shape that the compiler accepts.
func TestLeaks(t *testing.T) {
	const (
		own       = "models.m learns from its own label"
		aggregate = "models.m learns from an aggregate of its own label"
		later     = "models.m learns from later rows"
		shared    = "models.m is tested on rows that share values with those it learns from"
		label     = "refund > 0 AS refunded"
	)
	for name, tt := range map[string]struct {
		query  string // of features.f
		schema string // of its columns besides id, t and refunded
		model  string // further fields of the model
		want   string
	}{
		"the source of the label":               {`SELECT id, t, refund, ` + label + ` FROM o`, `refund: col.#Float64`, "", own},
		"another column of the source":          {`SELECT id, t, amount, ` + label + ` FROM o`, `amount: col.#Float64`, "", ""},
		"the source of the label is excluded":   {`SELECT id, t, amount, refund, ` + label + ` FROM o`, `amount: col.#Float64, refund: col.#Float64`, `exclude: ["refund"]`, ""},
		"the source of the label is known":      {`SELECT id, t, amount, refund, ` + label + ` FROM o`, `amount: col.#Float64, refund: col.#Float64`, `known: ["refund"]`, ""},
		"a function of it":                      {`SELECT id, t, refund / amount AS share, ` + label + ` FROM o`, `share: col.#Float64`, "", own},
		"a function of another column":          {`SELECT id, t, 1 / amount AS share, ` + label + ` FROM o`, `share: col.#Float64`, "", ""},
		"a CASE of it":                          {`SELECT id, t, CASE WHEN refund IS NULL THEN 'no' ELSE 'yes' END AS returned, ` + label + ` FROM o`, `returned: col.#String`, "", own},
		"a CASE of another column":              {`SELECT id, t, CASE WHEN channel IS NULL THEN 'no' ELSE 'yes' END AS known, ` + label + ` FROM o`, `known: col.#String`, "", ""},
		"the label under another name":          {`SELECT id, t, ` + label + `, refunded AS flag FROM o`, `flag: col.#Bool`, "", own},
		"through a subquery":                    {`SELECT id, t, r AS x, r > 0 AS refunded FROM (SELECT id, t, refund * 2 AS r FROM o)`, `x: col.#Float64`, "", own},
		"past a subquery":                       {`SELECT id, t, a AS x, r > 0 AS refunded FROM (SELECT id, t, amount AS a, refund * 2 AS r FROM o)`, `x: col.#Float64`, "", ""},
		"through a CTE and a star":              {`WITH x AS (SELECT * FROM o) SELECT id, t, refund, ` + label + ` FROM x`, `refund: col.#Float64`, "", own},
		"a star without it":                     {`WITH x AS (SELECT * EXCLUDE (customer, channel) FROM o) SELECT * EXCLUDE (refund), ` + label + ` FROM x`, `amount: col.#Float64`, "", ""},
		"a star with it":                        {`WITH x AS (SELECT * EXCLUDE (customer, channel, amount) FROM o) SELECT *, ` + label + ` FROM x`, `refund: col.#Float64`, "", own},
		"a star that replaces it":               {`SELECT * EXCLUDE (customer, channel, amount) REPLACE (amount AS refund), ` + label + ` FROM o`, `refund: col.#Float64`, "", ""},
		"both halves of the label":              {`SELECT id, t, amount, refund, refund > amount / 2 AS refunded FROM o`, `amount: col.#Float64, refund: col.#Float64`, "", own},
		"one half of the label":                 {`SELECT id, t, amount, refund > amount / 2 AS refunded FROM o`, `amount: col.#Float64`, "", ""},
		"joined on the key":                     {`SELECT o.id, o.t, p.refund, o.refund > 0 AS refunded FROM o JOIN o AS p ON o.id = p.id`, `refund: col.#Float64`, "", own},
		"joined on the key with USING":          {`SELECT id, o.t, p.refund, o.refund > 0 AS refunded FROM o LEFT JOIN o AS p USING (id)`, `refund: col.#Float64`, "", own},
		"joined on another column":              {`SELECT o.id, o.t, any_value(p.refund ORDER BY p.id) AS refund, any_value(o.refund) > 0 AS refunded FROM o JOIN o AS p ON o.customer = p.customer AND p.t < o.t GROUP BY o.id, o.t`, `refund: col.#Float64`, "", ""},
		"joined in WHERE":                       {`SELECT o.id, o.t, p.refund, o.refund > 0 AS refunded FROM o, o AS p WHERE o.id = p.id`, `refund: col.#Float64`, "", own},
		"aggregated by the key":                 {`SELECT o.id, o.t, p.r, o.refund > 0 AS refunded FROM o JOIN (SELECT id, max(refund) AS r FROM o GROUP BY id) AS p ON o.id = p.id`, `r: col.#Float64`, "", own},
		"a scalar subquery of the same row":     {`SELECT id, t, (SELECT max(p.refund) FROM o AS p WHERE p.id = o.id) AS r, ` + label + ` FROM o`, `r: col.#Float64 & {nullable: true}`, "", own},
		"earlier rows by lag":                   {`SELECT id, t, lag(refund) OVER (PARTITION BY customer ORDER BY t, id) AS r, ` + label + ` FROM o`, `r: col.#Float64 & {nullable: true}`, "", ""},
		"a running mean with the row itself":    {`SELECT id, t, avg(refund) OVER (PARTITION BY customer ORDER BY t, id) AS r, ` + label + ` FROM o`, `r: col.#Float64 & {nullable: true}`, "", own},
		"a running mean without the row itself": {`SELECT id, t, avg(refund) OVER (PARTITION BY customer ORDER BY t, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS r, ` + label + ` FROM o`, `r: col.#Float64 & {nullable: true}`, "", ""},
		"a mean of a range before the row":      {`SELECT id, t, avg(refund) OVER (PARTITION BY customer ORDER BY t RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 1 SECOND PRECEDING) AS r, ` + label + ` FROM o`, `r: col.#Float64 & {nullable: true}`, "", ""},
		"a mean of the other rows":              {`SELECT id, t, avg(refund) OVER (PARTITION BY customer ORDER BY t, id ROWS BETWEEN 5 PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW) AS r, ` + label + ` FROM o`, `r: col.#Float64 & {nullable: true}`, "", ""},
		"a mean of the partition":               {`SELECT id, t, avg(refund) OVER (PARTITION BY customer) AS r, ` + label + ` FROM o`, `r: col.#Float64`, "", own},
		"a rank by the label's source":          {`SELECT id, t, rank() OVER (ORDER BY refund) AS r, ` + label + ` FROM o`, `r: col.#Int64`, "", own},
		"a rank by another column":              {`SELECT id, t, rank() OVER (ORDER BY amount) AS r, ` + label + ` FROM o`, `r: col.#Int64`, "", ""},
		"the mean of a group":                   {`SELECT o.id, o.t, g.r, o.refund > 0 AS refunded FROM o JOIN (SELECT customer, avg(refund) AS r FROM o GROUP BY customer) AS g ON o.customer = g.customer`, `r: col.#Float64`, "", aggregate},
		"the mean of a group, of another value": {`SELECT o.id, o.t, g.r, o.refund > 0 AS refunded FROM o JOIN (SELECT customer, avg(amount) AS r FROM o GROUP BY customer) AS g ON o.customer = g.customer`, `r: col.#Float64`, "", shared},
		"the mean of a group before a day":      {`SELECT o.id, o.t, g.r, o.refund > 0 AS refunded FROM o JOIN (SELECT customer, avg(refund) AS r FROM o WHERE t < TIMESTAMP '2024-01-01' GROUP BY customer) AS g ON o.customer = g.customer`, `r: col.#Float64`, "", ""},
		"the mean of a group before the row":    {`SELECT o.id, o.t, any_value(o.refund) > 0 AS refunded, avg(p.refund) AS r FROM o LEFT JOIN o AS p ON o.customer = p.customer AND p.t < o.t GROUP BY o.id, o.t`, `r: col.#Float64 & {nullable: true}`, "", ""},
		"the mean of the others of a group":     {`SELECT o.id, o.t, any_value(o.refund) > 0 AS refunded, avg(p.refund) AS r FROM o LEFT JOIN o AS p ON o.customer = p.customer AND p.id <> o.id GROUP BY o.id, o.t`, `r: col.#Float64 & {nullable: true}`, "", ""},
		"the number of rows of a group":         {`SELECT o.id, o.t, g.n, o.refund > 0 AS refunded FROM o JOIN (SELECT customer, count(refund) AS n FROM o GROUP BY ALL) AS g ON o.customer = g.customer`, `n: col.#Int64`, "", ""},
		"an earlier row by a subquery":          {`SELECT id, t, (SELECT avg(p.refund) FROM o AS p WHERE p.customer = o.customer AND p.t < o.t) AS r, ` + label + ` FROM o`, `r: col.#Float64 & {nullable: true}`, "", ""},
		"the mean of all rows":                  {`SELECT id, t, amount, (SELECT avg(refund) FROM o) AS r, ` + label + ` FROM o`, `amount: col.#Float64, r: col.#Float64 & {nullable: true}`, "", aggregate},
		"both branches of a union":              {`SELECT id, t, refund, ` + label + ` FROM o WHERE amount > 1 UNION ALL SELECT id, t, refund, ` + label + ` FROM o WHERE amount <= 1`, `refund: col.#Float64`, "", own},
		"a union without it":                    {`SELECT id, t, amount, ` + label + ` FROM o WHERE amount > 1 UNION ALL SELECT id, t, amount, ` + label + ` FROM o WHERE amount <= 1`, `amount: col.#Float64`, "", ""},
		"the next row":                          {`SELECT id, t, lead(amount) OVER (PARTITION BY customer ORDER BY t, id) AS x, ` + label + ` FROM o`, `x: col.#Float64 & {nullable: true}`, "", later},
		"the next row, which is known":          {`SELECT id, t, lead(amount) OVER (PARTITION BY customer ORDER BY t, id) AS x, ` + label + ` FROM o`, `x: col.#Float64 & {nullable: true}`, `known: ["x"]`, ""},
		"the row before":                        {`SELECT id, t, lag(amount) OVER (PARTITION BY customer ORDER BY t, id) AS x, ` + label + ` FROM o`, `x: col.#Float64 & {nullable: true}`, "", ""},
		"the row before, backwards":             {`SELECT id, t, lead(amount) OVER (PARTITION BY customer ORDER BY t DESC, id) AS x, ` + label + ` FROM o`, `x: col.#Float64 & {nullable: true}`, "", ""},
		"the next row, backwards":               {`SELECT id, t, lag(amount) OVER (PARTITION BY customer ORDER BY t DESC, id) AS x, ` + label + ` FROM o`, `x: col.#Float64 & {nullable: true}`, "", later},
		"a frame that follows":                  {`SELECT id, t, sum(amount) OVER (PARTITION BY customer ORDER BY t, id ROWS BETWEEN CURRENT ROW AND 6 FOLLOWING) AS x, ` + label + ` FROM o`, `x: col.#Float64 & {nullable: true}`, "", later},
		"a frame that ends at the row":          {`SELECT id, t, sum(amount) OVER (PARTITION BY customer ORDER BY t, id ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS x, ` + label + ` FROM o`, `x: col.#Float64 & {nullable: true}`, "", ""},
		"a frame by another order":              {`SELECT id, t, sum(amount) OVER (PARTITION BY customer ORDER BY amount, id ROWS BETWEEN CURRENT ROW AND 6 FOLLOWING) AS x, ` + label + ` FROM o`, `x: col.#Float64 & {nullable: true}`, "", ""},
		"the label is of the next row":          {`SELECT id, t, refund, coalesce(lead(refund) OVER (PARTITION BY customer ORDER BY t, id), 0) > 0 AS refunded FROM o`, `refund: col.#Float64`, "", ""},
		// The label passes through other constructs of SQL.
		"a full join":                           {`SELECT coalesce(o.id, p.id) AS id, coalesce(o.t, p.t) AS t, p.refund AS r, coalesce(o.refund, 0) > 0 AS refunded FROM o FULL JOIN o AS p ON o.id = p.id`, `r: col.#Float64 & {nullable: true}`, "", own},
		"a full join on another column":         {`SELECT coalesce(o.id, p.id) AS id, coalesce(o.t, p.t) AS t, p.refund AS r, coalesce(o.refund, 0) > 0 AS refunded FROM o FULL JOIN o AS p ON o.id = p.id + 1`, `r: col.#Float64 & {nullable: true}`, "", ""},
		"a full join with USING":                {`SELECT id, coalesce(o.t, p.t) AS t, p.refund AS r, coalesce(o.refund, 0) > 0 AS refunded FROM o FULL JOIN o AS p USING (id)`, `r: col.#Float64 & {nullable: true}`, "", own},
		"a full join with USING, another value": {`SELECT id, coalesce(o.t, p.t) AS t, p.amount AS r, coalesce(o.refund, 0) > 0 AS refunded FROM o FULL JOIN o AS p USING (id)`, `r: col.#Float64 & {nullable: true}`, "", ""},
		"a natural join":                        {`SELECT id, t, r, refunded FROM (SELECT id, t, refund AS r FROM o) NATURAL JOIN (SELECT id, ` + label + ` FROM o)`, `r: col.#Float64`, "", own},
		"a natural join, another value":         {`SELECT id, t, r, refunded FROM (SELECT id, t, amount AS r FROM o) NATURAL JOIN (SELECT id, ` + label + ` FROM o)`, `r: col.#Float64`, "", ""},
		"a field of a struct":                   {`SELECT id, t, s.a AS x, s.b > 0 AS refunded FROM (SELECT id, t, {'a': refund, 'b': refund} AS s FROM o)`, `x: col.#Float64`, "", own},
		"another field of a struct":             {`SELECT id, t, s.a AS x, s.b > 0 AS refunded FROM (SELECT id, t, {'a': amount, 'b': refund} AS s FROM o)`, `x: col.#Float64`, "", ""},
		"a field of a field":                    {`SELECT id, t, s.a.b AS x, ` + label + ` FROM (SELECT id, t, refund, {'a': {'b': refund, 'c': amount}} AS s FROM o)`, `x: col.#Float64`, "", own},
		"another field of a field":              {`SELECT id, t, s.a.c AS x, ` + label + ` FROM (SELECT id, t, refund, {'a': {'b': refund, 'c': amount}} AS s FROM o)`, `x: col.#Float64`, "", ""},
		"all fields of a struct":                {`SELECT id, t, s.*, ` + label + ` FROM (SELECT id, t, refund, {'x': refund} AS s FROM o)`, `x: col.#Float64`, "", own},
		"all fields of another struct":          {`SELECT id, t, s.*, ` + label + ` FROM (SELECT id, t, refund, {'x': amount} AS s FROM o)`, `x: col.#Float64`, "", ""},
		"a struct taken apart":                  {`SELECT id, t, unnest({'x': refund}), ` + label + ` FROM o`, `x: col.#Float64`, "", own},
		"another struct taken apart":            {`SELECT id, t, unnest({'x': amount}), ` + label + ` FROM o`, `x: col.#Float64`, "", ""},
		"a list":                                {`SELECT id, t, list_sum([refund, amount]) AS x, ` + label + ` FROM o`, `x: col.#Float64`, "", own},
		"a list without it":                     {`SELECT id, t, list_sum([1, amount]) AS x, ` + label + ` FROM o`, `x: col.#Float64`, "", ""},
		"a lambda":                              {`SELECT id, t, list_transform([amount], lambda v: v + refund)[1] AS x, ` + label + ` FROM o`, `x: col.#Float64`, "", own},
		"a lambda without it":                   {`SELECT id, t, list_transform([amount], lambda v: v + 1)[1] AS x, ` + label + ` FROM o`, `x: col.#Float64`, "", ""},
		"a list of rows taken apart":            {`SELECT u.id, u.t, u.r AS x, u.r > 0 AS refunded FROM (SELECT unnest(list({'id': id, 't': t, 'r': refund, 'a': amount} ORDER BY t)) AS u FROM o GROUP BY customer)`, `x: col.#Float64`, "", own},
		"another value of such a row":           {`SELECT u.id, u.t, u.a AS x, u.r > 0 AS refunded FROM (SELECT unnest(list({'id': id, 't': t, 'r': refund, 'a': amount} ORDER BY t)) AS u FROM o GROUP BY customer)`, `x: col.#Float64`, "", ""},
		"lists taken apart in step":             {`SELECT unnest(list(id ORDER BY t)) AS id, unnest(list(t ORDER BY t)) AS t, unnest(list(refund ORDER BY t)) AS x, unnest(list(refund ORDER BY t)) > 0 AS refunded FROM o GROUP BY customer`, `x: col.#Float64`, "", own},
		"lists in different orders":             {`SELECT unnest(list(id ORDER BY t)) AS id, unnest(list(t ORDER BY t)) AS t, unnest(list(refund ORDER BY amount)) AS x, unnest(list(refund ORDER BY t)) > 0 AS refunded FROM o GROUP BY customer`, `x: col.#Float64`, "", ""},
		"a list taken apart in FROM":            {`SELECT id, t, x, ` + label + ` FROM o, unnest([refund]) AS u(x)`, `x: col.#Float64`, "", own},
		"another list taken apart in FROM":      {`SELECT id, t, x, ` + label + ` FROM o, unnest([amount]) AS u(x)`, `x: col.#Float64`, "", ""},
		"a lateral subquery":                    {`SELECT id, t, l.x, ` + label + ` FROM o, LATERAL (SELECT o.refund * 2 AS x) AS l`, `x: col.#Float64`, "", own},
		"another lateral subquery":              {`SELECT id, t, l.x, ` + label + ` FROM o, LATERAL (SELECT o.amount * 2 AS x) AS l`, `x: col.#Float64`, "", ""},
		"a lateral subquery by the key":         {`SELECT o.id, o.t, l.x, o.refund > 0 AS refunded FROM o, LATERAL (SELECT p.refund AS x FROM o AS p WHERE p.id = o.id) AS l`, `x: col.#Float64`, "", own},
		"a lateral subquery of an earlier row":  {`SELECT o.id, o.t, l.x, o.refund > 0 AS refunded FROM o, LATERAL (SELECT p.refund AS x FROM o AS p WHERE p.customer = o.customer AND p.t < o.t ORDER BY p.t DESC LIMIT 1) AS l`, `x: col.#Float64`, "", ""},
		"a recursive query":                     {`WITH RECURSIVE r AS (SELECT id, t, refund AS x, ` + label + `, 0 AS n FROM o UNION ALL SELECT id, t, x / 2, refunded, n + 1 FROM r WHERE n < 0) SELECT id, t, x, refunded FROM r`, `x: col.#Float64`, "", own},
		"a recursive query of another value":    {`WITH RECURSIVE r AS (SELECT id, t, amount AS x, ` + label + `, 0 AS n FROM o UNION ALL SELECT id, t, x / 2, refunded, n + 1 FROM r WHERE n < 0) SELECT id, t, x, refunded FROM r`, `x: col.#Float64`, "", ""},
		"a recursive query of the row before":   {`WITH RECURSIVE r AS (SELECT id, t, CAST(0 AS DOUBLE) AS x, ` + label + `, refund AS own FROM o WHERE amount = 0 UNION ALL SELECT o.id, o.t, r.own AS x, o.refund > 0 AS refunded, o.refund AS own FROM o JOIN r ON o.id = r.id + 1) SELECT id, t, x, refunded FROM r`, `x: col.#Float64`, "", ""},
		"a column of PIVOT":                     {`SELECT id, t, coalesce(b, 0) AS x, coalesce(b, 0) > 0 AS refunded FROM (SELECT id // 2 AS id, channel, refund, max(t) OVER (PARTITION BY id // 2) AS t FROM o) PIVOT (sum(refund) FOR channel IN ('a', 'b'))`, `x: col.#Float64`, "", own},
		"another column of PIVOT":               {`SELECT id, t, coalesce(a, 0) AS x, coalesce(b, 0) > 0 AS refunded FROM (SELECT id // 2 AS id, channel, refund, max(t) OVER (PARTITION BY id // 2) AS t FROM o) PIVOT (sum(refund) FOR channel IN ('a', 'b'))`, `x: col.#Float64`, "", ""},
		"UNPIVOT":                               {`SELECT id, t, x, x > 0 AS refunded FROM (SELECT id, t, refund FROM o) UNPIVOT (x FOR name IN (refund))`, `x: col.#Float64`, "", own},
		"UNPIVOT of another column":             {`SELECT id, t, x, refund > 0 AS refunded FROM (SELECT id, t, refund, amount FROM o) UNPIVOT (x FOR name IN (amount))`, `x: col.#Float64`, "", ""},
		"COLUMNS":                               {`SELECT id, t, COLUMNS('refund') / 2, ` + label + ` FROM o`, `refund: col.#Float64`, "", own},
		"COLUMNS without it":                    {`SELECT id, t, COLUMNS('amount') / 2, ` + label + ` FROM o`, `amount: col.#Float64`, "", ""},
		"a renamed column":                      {`SELECT * EXCLUDE (customer, channel, amount) RENAME (refund AS x), ` + label + ` FROM o`, `x: col.#Float64`, "", own},
		"another renamed column":                {`SELECT * EXCLUDE (customer, channel, refund) RENAME (amount AS x), ` + label + ` FROM o`, `x: col.#Float64`, "", ""},
		"joined with VALUES":                    {`SELECT id, t, refund * v.f AS x, ` + label + ` FROM o JOIN (VALUES ('a', 2), ('b', 3)) AS v(channel, f) USING (channel)`, `x: col.#Float64`, "", own},
		"joined with VALUES, another value":     {`SELECT id, t, amount * v.f AS x, ` + label + ` FROM o JOIN (VALUES ('a', 2), ('b', 3)) AS v(channel, f) USING (channel)`, `x: col.#Float64`, "", ""},
		"a list of all rows":                    {`SELECT o.id, o.t, list_sum((SELECT list(p.refund ORDER BY p.id) FROM o AS p)) AS x, o.refund > 0 AS refunded FROM o`, `x: col.#Float64`, "", aggregate},
		"a list of earlier rows":                {`SELECT o.id, o.t, list_sum(coalesce((SELECT list(p.refund ORDER BY p.id) FROM o AS p WHERE p.t < o.t), [CAST(0 AS DOUBLE)])) AS x, o.refund > 0 AS refunded FROM o`, `x: col.#Float64`, "", ""},
		// The label is an aggregate or a window itself.
		"the aggregate that is the label":         {`SELECT id // 2 AS id, max(t) AS t, sum(refund) AS x, sum(refund) > 100 AS refunded FROM o GROUP BY id // 2`, `x: col.#Float64`, "", own},
		"an aggregate of other rows":              {`SELECT id // 2 AS id, max(t) AS t, count(refund) FILTER (WHERE amount > 1) AS x, sum(refund) > 100 AS refunded FROM o GROUP BY id // 2`, `x: col.#Int64`, "", ""},
		"another aggregate of the rows":           {`SELECT id // 2 AS id, max(t) AS t, min(amount) AS x, sum(refund) > 100 AS refunded FROM o GROUP BY id // 2`, `x: col.#Float64`, "", ""},
		"the window that is the label":            {`SELECT id, t, coalesce(sum(refund) OVER w, 0) AS x, coalesce(sum(refund) OVER w, 0) > 0 AS refunded FROM o WINDOW w AS (PARTITION BY customer ORDER BY amount, id ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING)`, `x: col.#Float64`, "", own},
		"another window than the label":           {`SELECT id, t, coalesce(sum(refund) OVER (PARTITION BY customer ORDER BY amount, id ROWS BETWEEN 9 PRECEDING AND 4 PRECEDING), 0) AS x, coalesce(sum(refund) OVER w, 0) > 0 AS refunded FROM o WINDOW w AS (PARTITION BY customer ORDER BY amount, id ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING)`, `x: col.#Float64`, "", ""},
		"the label compares the next row":         {`SELECT id, t, refund, refund < lead(refund, 1, 0.0) OVER (PARTITION BY customer ORDER BY t, id) AS refunded FROM o`, `refund: col.#Float64`, "", ""},
		"the label compares the row before":       {`SELECT id, t, refund, lag(refund) OVER (PARTITION BY customer ORDER BY t, id) IS NULL OR refund > 0 AS refunded FROM o`, `refund: col.#Float64`, "", own},
		"the mean of a group, of some values":     {`SELECT o.id, o.t, g.r, o.refund > 0 AS refunded FROM o JOIN (SELECT customer, avg(refund) AS r FROM o WHERE refund >= 1 GROUP BY customer) AS g ON o.customer = g.customer`, `r: col.#Float64`, "", aggregate},
		"the mean of a group, by another value":   {`SELECT o.id, o.t, g.r, o.refund > 0 AS refunded FROM o JOIN (SELECT customer, avg(refund) AS r FROM o WHERE amount >= 1 GROUP BY customer) AS g ON o.customer = g.customer`, `r: col.#Float64`, "", ""},
		"one branch of a union":                   {`SELECT id, t, amount AS x, ` + label + ` FROM o WHERE amount > 1 UNION ALL SELECT id, t, refund + 1, ` + label + ` FROM o WHERE amount <= 1`, `x: col.#Float64`, "", own},
		"one branch of a union, another value":    {`SELECT id, t, amount AS x, ` + label + ` FROM o WHERE amount > 1 UNION ALL SELECT id, t, amount + 1, ` + label + ` FROM o WHERE amount <= 1`, `x: col.#Float64`, "", ""},
		"the aggregate of the label":              {`SELECT min(id) AS id, min(t) AS t, max(amount) / 2 AS x, max(amount) < 3 AS refunded FROM o GROUP BY customer`, `x: col.#Float64`, "", own},
		"another aggregate":                       {`SELECT min(id) AS id, min(t) AS t, min(amount) / 2 AS x, max(amount) < 3 AS refunded FROM o GROUP BY customer`, `x: col.#Float64`, "", ""},
		"the aggregate of the label, in a CTE":    {`WITH g AS (SELECT min(id) AS id, customer, min(t) AS t, max(t) AS last FROM o GROUP BY customer) SELECT id, t, date_diff('day', last, TIMESTAMP '2025-01-01') AS x, last < TIMESTAMP '2024-06-01' AS refunded FROM g`, `x: col.#Int64`, "", own},
		"another aggregate, in a CTE":             {`WITH g AS (SELECT min(id) AS id, customer, min(t) AS t, max(t) AS last FROM o GROUP BY customer) SELECT id, t, date_diff('day', t, TIMESTAMP '2025-01-01') AS x, last < TIMESTAMP '2024-06-01' AS refunded FROM g`, `x: col.#Int64`, "", ""},
		"the aggregate of other rows":             {`SELECT min(id) AS id, min(t) AS t, max(amount) FILTER (t < TIMESTAMP '2024-06-01') AS x, max(amount) > 3 AS refunded FROM o GROUP BY customer`, `x: col.#Float64 & {nullable: true}`, "", ""},
		"the aggregate of other rows, by a CASE":  {`SELECT min(id) AS id, min(t) AS t, max(CASE WHEN t < TIMESTAMP '2024-06-01' THEN amount ELSE 0 END) AS x, max(amount) > 3 AS refunded FROM o GROUP BY customer`, `x: col.#Float64`, "", ""},
		"the aggregate of rows of another SELECT": {`SELECT min(a.id) AS id, min(a.t) AS t, any_value(b.x ORDER BY b.x) AS x, max(a.amount) > 3 AS refunded FROM o AS a JOIN (SELECT customer, max(amount) AS x FROM o WHERE t < TIMESTAMP '2024-06-01' GROUP BY customer) AS b USING (customer) GROUP BY customer`, `x: col.#Float64`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": fmt.Sprintf(leaky, tt.query, tt.schema, tt.model)}, tt.want)
		})
	}
}

const leaky = `package shop

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
		id:       col.#Int64 & {unique: true}
		customer: col.#String
		t:        col.#Timestamp
		amount:   col.#Float64
		refund:   col.#Float64
		channel:  col.#String & {nullable: true}
	}
}

features: f: feature.#SQL & {
	in: o: sources.orders.out
	sql: """
		%s
		"""
	schema: {
		id:       col.#Int64
		t:        col.#Timestamp
		refunded: col.#Bool
		%s
	}
	keys: ["id"]
	timestamp: "t"
}

models: m: train.#SKLearn & {
	in: table: features.f.out
	label:     "refunded"
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	test: split.#Random & {fraction: 0.3}
	evaluation: evaluate.#Classification
	%s
}
`
