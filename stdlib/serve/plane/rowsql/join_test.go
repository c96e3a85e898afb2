package rowsql_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// joins are queries over a request f and lookups w and p, whose keys have the types K and T.
var joins = []string{
	"SELECT f.id, p.y FROM f LEFT JOIN p ON f.k = p.k",
	"SELECT f.id, p.y, p.k FROM f JOIN p ON p.k = f.k",
	"SELECT f.id, p.y FROM f LEFT JOIN p USING (k) WHERE p.y IS NULL OR p.y > 2",
	"SELECT f.id, p.y FROM f LEFT JOIN p ON f.k IS NOT DISTINCT FROM p.k",
	"SELECT f.id, p.y FROM f LEFT JOIN p ON f.k = p.k AND p.y > f.x",
	"SELECT f.id, p.y FROM f LEFT JOIN p ON f.k = p.k AND p.y > 1",
	"SELECT f.id, p.y FROM f JOIN p ON f.k = p.k AND p.y = f.x",
	"SELECT f.id, w.x, w.t FROM f ASOF LEFT JOIN w ON f.k = w.k AND f.t >= w.t",
	"SELECT f.id, w.x, w.t FROM f ASOF LEFT JOIN w ON f.k = w.k AND f.t > w.t",
	"SELECT f.id, w.x, w.t FROM f ASOF LEFT JOIN w ON f.k = w.k AND f.t <= w.t",
	"SELECT f.id, w.x, w.t FROM f ASOF LEFT JOIN w ON f.k = w.k AND w.t > f.t",
	"SELECT f.id, w.x FROM f ASOF JOIN w USING (k, t)",
	"SELECT f.id, w.x FROM f LEFT JOIN w ON f.k = w.k AND f.t = w.t",
	"SELECT f.id, w.x, p.y FROM f ASOF LEFT JOIN w ON f.k = w.k AND f.t >= w.t LEFT JOIN p ON p.k = w.k WHERE f.x IS NOT NULL",
	"SELECT f.id, w.x + p.y AS z FROM f LEFT JOIN p ON f.k = p.k ASOF LEFT JOIN w ON p.k = w.k AND f.t >= w.t",
	"WITH q AS (SELECT k, y + 1 AS y1 FROM p WHERE y > 0) SELECT f.id, q.y1, f.x * 2 AS x2 FROM f LEFT JOIN q ON q.k = f.k",
	"WITH g AS (SELECT id, k, t, x + 1 AS x1 FROM f WHERE x > 0) SELECT id, x1 * 2 AS x2, y FROM g LEFT JOIN (SELECT k AS kk, y FROM p) r ON g.k = r.kk",
	"SELECT id, a.y AS y1, b.y AS y2 FROM f LEFT JOIN p a ON f.k = a.k LEFT JOIN p b ON f.k = b.k AND b.y < 3",
	"SELECT f.id, p.y, CASE WHEN p.k IS NULL THEN 'none' ELSE 'one' END AS c FROM f LEFT JOIN p ON f.k = p.k WHERE NOT (f.x = 1)",
}

func shopTables(k, t string) []rowsql.Table {
	return []rowsql.Table{
		{Name: "f", Schema: ir.Schema{{Name: "id", Type: "int64"}, {Name: "k", Type: k}, {Name: "t", Type: t}, {Name: "x", Type: "int64"}}},
		{Name: "w", Schema: ir.Schema{{Name: "k", Type: k}, {Name: "t", Type: t}, {Name: "x", Type: "int64"}}, Keys: [][]string{{"k", "t"}}},
		{Name: "p", Schema: ir.Schema{{Name: "y", Type: "int64"}, {Name: "k", Type: k}}, Keys: [][]string{{"k"}}},
	}
}

// unique removes rows that repeat a key. DuckDB takes all NaN as one value, and both zeros.
func unique(rows [][]rowsql.Value, types []string, key ...int) [][]rowsql.Value {
	seen := map[string]bool{}
	return slices.DeleteFunc(rows, func(r []rowsql.Value) bool {
		var b strings.Builder
		for _, i := range key {
			v := r[i]
			if types[i] == "float64" && v.Float() == 0 {
				v = rowsql.Float(0)
			}
			fmt.Fprintf(&b, "%q,", literal(v, types[i]))
		}
		again := seen[b.String()]
		seen[b.String()] = true
		return again
	})
}

// TestJoinsEqualDuckDB draws keys of all types, with nulls, and joins by them.
func TestJoinsEqualDuckDB(t *testing.T) {
	keys := []string{"int64", "string", "float64", "date", "timestamp", "bool", "int8", "uint64"}
	rapid.Check(t, func(rt *rapid.T) {
		k, at := rapid.SampledFrom(keys).Draw(rt, "k"), rapid.SampledFrom([]string{"timestamp", "int64", "date", "float64"}).Draw(rt, "t")
		tables := shopTables(k, at)
		pool := map[string][]rowsql.Value{}
		for _, typ := range []string{k, at} {
			for range 4 {
				pool[typ] = append(pool[typ], drawValue(rt, ir.Column{Name: typ, Type: typ}))
			}
		}
		draw := func(table rowsql.Table) [][]rowsql.Value {
			rows := make([][]rowsql.Value, rapid.IntRange(0, 12).Draw(rt, "rows"))
			for i := range rows {
				for _, c := range table.Schema {
					var v rowsql.Value
					switch c.Name {
					case "id":
						v = rowsql.Int(int64(i))
					case "x", "y":
						if v = rowsql.Int(rapid.Int64Range(-1, 4).Draw(rt, c.Name)); v.Int() < 0 {
							v = rowsql.Null
						}
					default:
						v = rapid.SampledFrom(pool[c.Type]).Draw(rt, c.Name)
					}
					rows[i] = append(rows[i], v)
				}
			}
			return rows
		}
		f, w, p := draw(tables[0]), unique(draw(tables[1]), []string{k, at, "int64"}, 0, 1), unique(draw(tables[2]), []string{"int64", k}, 1)
		load(rt, "f", tables[0].Schema, f)
		load(rt, "w", tables[1].Schema, w)
		load(rt, "p", tables[2].Schema, p)
		query := rapid.SampledFrom(joins).Draw(rt, "query")
		plan, err := compile(rt, tables, query)
		if err != nil {
			rt.Fatalf("%v\n%s", err, query)
		}
		lookups, err := lookupRows(plan, map[string][][]rowsql.Value{"w": w, "p": p})
		if err != nil {
			rt.Fatalf("%v\n%s", err, query)
		}
		got, errs := run(t, plan, lookups, f)
		if outside(plan) {
			stored, _, _ := runWithStores(t, plan, map[string][][]rowsql.Value{"w": w, "p": p}, f)
			if diff := cmp.Diff(got, stored); diff != "" {
				rt.Fatalf("%s\nof a store: %s", query, diff)
			}
		}
		want, err := texts(asText(plan, query))
		if err != nil {
			rt.Fatalf("%v", err)
		}
		byID := map[string]string{}
		for _, line := range want {
			byID[line[0]] = strings.Join(line, "|")
		}
		for i, err := range errs {
			if err != nil {
				rt.Fatalf("row %d: %v", i, err)
			}
			if g, w := strings.Join(got[i], "|"), byID[fmt.Sprint(i)]; g != w {
				rt.Fatalf("%s\nrow %d: got %s, want %s", query, i, g, w)
			}
		}
	})
}

// asText selects the outputs of a query as texts reads them.
func asText(plan *rowsql.Plan, query string) string {
	var columns []string
	for _, o := range plan.Outputs {
		columns = append(columns, comparable(o.Type, `"`+o.Name+`"`))
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM (" + query + ")"
}

// lookupRows makes the rows of all lookups of a plan.
func lookupRows(plan *rowsql.Plan, tables map[string][][]rowsql.Value) ([]*rowsql.Rows, error) {
	prog, err := rowsql.Load(plan)
	if err != nil {
		return nil, err
	}
	var all []*rowsql.Rows
	for i, l := range plan.Lookups {
		rows, err := prog.Rows(i, tables[l.Input.Name])
		if err != nil {
			return nil, err
		}
		all = append(all, rows)
	}
	return all, nil
}

func TestRowsThatRepeatAKeyAreRefused(t *testing.T) {
	tables := shopTables("string", "timestamp")
	row := func(k string, at, x int64) []rowsql.Value {
		return []rowsql.Value{rowsql.String(k), rowsql.Int(at), rowsql.Int(x)}
	}
	plan, err := compile(t, tables, "SELECT id, w.x FROM f ASOF LEFT JOIN w ON f.k = w.k AND f.t >= w.t")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lookupRows(plan, map[string][][]rowsql.Value{"w": {row("a", 1, 1), row("b", 1, 1), row("a", 2, 1)}}); err != nil {
		t.Error(err)
	}
	if _, err := lookupRows(plan, map[string][][]rowsql.Value{"w": {row("a", 1, 1), row("b", 1, 1), row("a", 1, 2)}}); err == nil {
		t.Error("two rows with the same keys and time were accepted")
	}
}

// nowhere is the place of what the query does not contain: the parts of DuckDB's macros.
const nowhere = "-"

func TestQueriesThatAreNotRowByRowAreRefused(t *testing.T) {
	tables := shopTables("string", "timestamp")
	tables = append(tables, rowsql.Table{Name: "many", Schema: ir.Schema{{Name: "k", Type: "string"}, {Name: "z", Type: "int64"}}})
	for query, want := range map[string]struct {
		reason string
		at     string // the text at the offset
	}{
		"SELECT sum(x) AS s FROM f":                                                         {reason: "an aggregate or GROUP BY"},
		"SELECT k FROM f GROUP BY k":                                                        {reason: "an aggregate or GROUP BY"},
		"SELECT id, sum(x) OVER (ORDER BY k) AS s FROM f":                                   {reason: "a window that is not ordered by a time"},
		"SELECT id FROM f ORDER BY id":                                                      {reason: "ORDER BY"},
		"SELECT id FROM f LIMIT 3":                                                          {reason: "LIMIT"},
		"SELECT DISTINCT id FROM f":                                                         {reason: "DISTINCT"},
		"SELECT id FROM f UNION ALL SELECT id FROM f":                                       {reason: "UNION"},
		"SELECT id, many.z FROM f LEFT JOIN many ON f.k = many.k":                           {reason: "no declared key", at: ""},
		"SELECT id, w.x FROM f LEFT JOIN w ON f.k = w.k":                                    {reason: "no declared key"},
		"SELECT id, p.y FROM f LEFT JOIN p ON lower(f.k) = lower(p.k)":                      {reason: "no declared key"},
		"SELECT id, p.y FROM f, p":                                                          {reason: "a join without a condition"},
		"SELECT id, p.y FROM f FULL JOIN p ON f.k = p.k":                                    {reason: "FULL join"},
		"SELECT id, p.y FROM p RIGHT JOIN f ON f.k = p.k":                                   {reason: "RIGHT join"},
		"SELECT p.y, id FROM p JOIN f ON f.k = p.k":                                         {reason: "leftmost table"},
		"SELECT p.y FROM p":                                                                 {reason: "the leftmost table"},
		"SELECT id, ln(x) AS l FROM f":                                                      {reason: "function ln", at: "ln(x)"},
		"SELECT id, x + 1 AS a, regexp_matches(k, 'a') AS m FROM f":                         {reason: "function regexp_matches", at: "regexp_matches"},
		"SELECT id, CAST(k AS INTEGER) AS n FROM f":                                         {reason: "a cast from VARCHAR to INTEGER", at: "CAST(k"},
		"SELECT id, x AS longer, k AS text, ifnull(split_part(k, '-', 1), 'b') AS p FROM f": {reason: "LIST", at: nowhere},
		"SELECT id, extract(julian FROM t) AS n FROM f":                                     {reason: "julian", at: "extract"},
		"SELECT id, strftime(t, '%c') AS n FROM f":                                          {reason: "%c", at: "strftime"},
		"SELECT id, k COLLATE NOCASE = 'a' AS n FROM f":                                     {reason: "collation"},
		"SELECT id, random() AS r FROM f":                                                   {reason: "random", at: "random"},
		"SELECT id, (SELECT max(y) FROM p WHERE p.k = f.k) AS r FROM f":                     {reason: "subquery"},
		"SELECT id, unnest([1, 2]) AS r FROM f":                                             {reason: "UNNEST"},
		"SELECT id, [x] AS r FROM f":                                                        {reason: "LIST"},
		"SELECT id, t + CAST('1 day' AS INTERVAL) AS r FROM f":                              {reason: "INTERVAL", at: "CAST('1"},
		"SELECT id, DATE '1/2/2020' = t AS r FROM f":                                        {reason: "usual form"},
	} {
		_, err := compile(t, tables, query)
		if err == nil {
			t.Errorf("%s: accepted", query)
			continue
		}
		if !strings.Contains(err.Error(), want.reason) {
			t.Errorf("%s: %v, wanted %q", query, err, want.reason)
		}
		if r, ok := err.(*rowsql.Refusal); ok && want.at == nowhere && r.Offset >= 0 {
			t.Errorf("%s: %v is at byte %d, which is not its place", query, err, r.Offset)
		} else if ok && want.at != "" && want.at != nowhere && (r.Offset < 0 || !strings.HasPrefix(query[r.Offset:], want.at)) {
			t.Errorf("%s: %v is at byte %d, wanted that of %q", query, err, r.Offset, want.at)
		}
	}
}

// TestReference compares the list of functions and casts with a file. TENON_UPDATE=1 writes it.
func TestReference(t *testing.T) {
	const path = "testdata/reference.md"
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(rowsql.Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), rowsql.Reference()); diff != "" {
		t.Errorf("%s is out of date; TENON_UPDATE=1 writes it:\n%s", path, diff)
	}
}

// TestEveryFunctionIsCompared fails if a function is computed that no test compares with DuckDB.
func TestEveryFunctionIsCompared(t *testing.T) {
	sum := newTally()
	r := rand.New(rand.NewPCG(1, 2))
	tables := []rowsql.Table{{Name: "f", Schema: wide}}
	for _, category := range categories {
		for _, form := range templates[category] {
			for range 24 {
				e := fill(func(_ string, n int) int { return r.IntN(n) }, form, 1)
				if plan, err := compile(t, tables, "SELECT "+e+" AS x FROM f"); err == nil {
					sum.called = append(sum.called, calls(plan)...)
				}
			}
		}
	}
	for signature, names := range rowsql.Implemented(sum.called) {
		if len(names) > 0 {
			t.Errorf("no form calls %s of %s", strings.Join(names, ", "), signature)
		}
	}
}
