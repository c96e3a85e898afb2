package facts_test

import (
	"slices"
	"strings"
	"testing"
)

// An aggregate by columns that a join makes equal to those of a row includes that row.
func TestIncludes(t *testing.T) {
	const by = "(SELECT g, avg(x) AS m, max(t) AS last FROM o GROUP BY g) q"
	for query, want := range map[string]string{
		"SELECT q.m AS z FROM o JOIN " + by + " USING (g)":                                                                                            "g",
		"SELECT q.m AS z FROM o, " + by + " WHERE o.g = q.g":                                                                                          "g",
		"SELECT q.m AS z FROM o JOIN " + by + " ON o.y = q.g":                                                                                         "",
		"SELECT q.m AS z FROM o JOIN " + by + " ON o.g = q.g + 1":                                                                                     "",
		"SELECT q.m AS z FROM o JOIN " + by + " ON o.g = q.g AND q.last < o.t":                                                                        "",
		"SELECT q.m AS z FROM o JOIN " + by + " ON o.g = q.g WHERE q.last < o.t":                                                                      "",
		"SELECT q.m AS z FROM o JOIN (SELECT g FROM o) p ON p.g = o.g JOIN " + by + " ON q.g = p.g":                                                   "g",
		"SELECT q.m AS z FROM o JOIN (SELECT g, avg(x) AS m FROM o WHERE t < 9 GROUP BY g) q USING (g)":                                               "",
		"SELECT q.m AS z FROM o JOIN (SELECT g, avg(x) AS m FROM o WHERE g < 9 GROUP BY g) q USING (g)":                                               "g",
		"SELECT q.m AS z FROM o JOIN (SELECT g, avg(x) FILTER (t < 9) AS m FROM o GROUP BY g) q USING (g)":                                            "",
		"SELECT q.m AS z FROM o JOIN (SELECT g, avg(x) AS m FROM o GROUP BY g HAVING count(*) > 1) q USING (g)":                                       "g",
		"SELECT q.m AS z FROM o JOIN (SELECT g, y, avg(x) AS m FROM o GROUP BY g, y) q USING (g)":                                                     "",
		"SELECT q.m AS z FROM o JOIN (SELECT g, y, avg(x) AS m FROM o GROUP BY g, y) q USING (g, y)":                                                  "g y",
		"SELECT q.m AS z FROM o JOIN (SELECT g, avg(x) AS m FROM o GROUP BY ROLLUP (g)) q USING (g)":                                                  "",
		"SELECT q.m AS z FROM o JOIN (SELECT g, avg(x) AS m FROM o GROUP BY g LIMIT 3) q USING (g)":                                                   "",
		"SELECT q.m AS z FROM o JOIN (SELECT g, max(m) AS m FROM (SELECT g, y, avg(x) AS m FROM o GROUP BY g, y) GROUP BY g) q USING (g)":             "g",
		"SELECT q.m AS z FROM o JOIN (SELECT g, max(m) AS m FROM (SELECT g, y, avg(x) AS m FROM o WHERE t < 9 GROUP BY g, y) GROUP BY g) q USING (g)": "",
		"SELECT (SELECT avg(p.x) FROM o p WHERE p.g = o.g) AS z FROM o":                                                                               "g",
		"SELECT (SELECT avg(p.x) FROM o p WHERE p.g = o.g AND p.t < o.t) AS z FROM o":                                                                 "",
		"SELECT (SELECT avg(p.x) FROM o p WHERE p.g = o.y) AS z FROM o":                                                                               "",
		"SELECT (SELECT avg(p.x) FROM o p) AS z FROM o":                                                                                               "",
		"SELECT q.m AS z FROM o JOIN (SELECT g, id, avg(x) OVER (PARTITION BY g) AS m FROM o) q ON q.g = o.g":                                         "g",
		"SELECT q.m AS z FROM o JOIN (SELECT g, id, avg(x) OVER (PARTITION BY g ORDER BY t) AS m FROM o) q ON q.g = o.g":                              "",
	} {
		got := analyse(t, "SELECT o.id AS own, "+strings.TrimPrefix(query, "SELECT "))
		own := got.Column("own").Origins[0].Row
		var all []string
		for _, o := range got.Columns[len(got.Columns)-1].Origins {
			if o.Column == "x" && slices.Contains(o.Includes, own) {
				for _, c := range o.By {
					all = append(all, c[0].Column)
				}
			}
		}
		slices.Sort(all)
		if s := strings.Join(all, " "); s != want {
			t.Errorf("%s\n got %q\nwant %q", query, s, want)
		}
	}
}
