package rowsql_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A caller who does not know f.t or f.x, which are known only later.
const served = `
	WITH g AS (SELECT id, k, t, x, x > 1 AS late FROM f WHERE x IS NOT NULL)
	SELECT g.id, g.k || '!' AS mark, p.y, g.late, NOT g.late AS early, w.x AS wx, g.id + 1 AS next
	FROM g LEFT JOIN p ON g.k = p.k ASOF LEFT JOIN w ON g.k = w.k AND g.t >= w.t
	WHERE g.id < 100`

func TestServeLeavesOutWhatTheCallerDoesNotHave(t *testing.T) {
	plan, err := compile(t, shopTables("string", "timestamp"), served)
	if err != nil {
		t.Fatal(err)
	}
	live, err := plan.Serve([]string{"x", "t"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names, columns []string
	for _, o := range live.Outputs {
		names = append(names, o.Name)
	}
	for _, c := range live.Request.Columns {
		columns = append(columns, c.Name)
	}
	if diff := cmp.Diff([]string{"id", "mark", "y", "next"}, names); diff != "" {
		t.Errorf("outputs: %s", diff)
	}
	if diff := cmp.Diff([]string{"id", "k"}, columns); diff != "" {
		t.Errorf("columns of the request: %s", diff)
	}
	if len(live.Lookups) != 1 || live.Lookups[0].Input.Name != "p" {
		t.Errorf("lookups %v, wanted p only", live.Lookups)
	}
	// The same rows give the same values, without those columns.
	p := [][]rowsql.Value{{rowsql.Int(7), rowsql.String("a")}}
	lookups, err := lookupRows(live, map[string][][]rowsql.Value{"p": p})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := run(t, live, lookups, [][]rowsql.Value{
		{rowsql.Int(1), rowsql.String("a")}, {rowsql.Int(2), rowsql.Null}, {rowsql.Int(100), rowsql.String("a")},
	})
	want := [][]string{{"1", "a!", "7", "2"}, {"2", none, none, "3"}, nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnalysisGivesThePathToAnExcludedColumn(t *testing.T) {
	plan, err := compile(t, shopTables("string", "timestamp"), served)
	if err != nil {
		t.Fatal(err)
	}
	for output, want := range map[string]string{
		"late": "late <- f.x", "early": "early <- late <- f.x", "wx": "wx <- the row of w <- f.t",
	} {
		_, err := plan.Serve([]string{"x", "t"}, []string{"id", output})
		var missing *rowsql.Unavailable
		if !errors.As(err, &missing) || strings.Join(missing.Path, " <- ") != want {
			t.Errorf("%s: %v, wanted the path %s", output, err, want)
		}
	}
	a := plan.Analyse([]string{"x"})
	i := slices.IndexFunc(a.Outputs, func(u rowsql.Use) bool { return u.Name == "wx" })
	if u := a.Outputs[i]; u.Training || !slices.Equal(u.Columns, []string{"k", "t"}) || !slices.Equal(u.Lookups, []string{"w"}) {
		t.Errorf("wx: %+v, wanted k and t by the lookup w", u)
	}
	if len(a.Filters) != 2 || !a.Filters[0].Training || a.Filters[1].Training {
		t.Errorf("filters: %+v, wanted the first for training only", a.Filters)
	}
}
