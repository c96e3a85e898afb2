package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// events has n rows in 20 groups; every tenth is rare. Its names are those that
// the package itself uses in SQL.
func events(t *testing.T, n int) string {
	t.Helper()
	return table(t, fmt.Sprintf(`SELECT i AS row, 'g' || (i %% 20) AS g, CASE WHEN i %% 10 = 3 THEN 'rare' ELSE 'common' END AS n,
		TIMESTAMP '2024-01-01' + INTERVAL (i) HOUR AS test FROM range(%d) t(i)`, n),
		ir.Schema{{Name: "row", Type: "int64"}, {Name: "g", Type: "string"}, {Name: "n", Type: "string"}, {Name: "test", Type: "timestamp"}})
}

func split(t *testing.T, in string, d engine.Division) (train, test []string) {
	t.Helper()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "train"), filepath.Join(dir, "test")
	if err := engine.Split(context.Background(), in, d, a, b, engine.Limits{}); err != nil {
		t.Fatal(err)
	}
	return rows(t, a), rows(t, b)
}

func column(lines []string, i int) []string {
	var out []string
	for _, l := range lines {
		out = append(out, strings.Split(l, "|")[i])
	}
	return out
}

// id is the number of a row of events, which is its position as well.
func ids(lines []string) []int {
	var out []int
	for _, s := range column(lines, 0) {
		n, _ := strconv.Atoi(s)
		out = append(out, n)
	}
	return out
}

func TestSplitPutsEveryRowIntoOnePartInItsOrder(t *testing.T) {
	in := events(t, 3000)
	for name, d := range map[string]engine.Division{
		"random":     {Test: 0.2, Seed: 7},
		"by keys":    {Test: 0.2, Seed: 7, Keys: []string{"row", "g"}},
		"stratified": {Test: 0.2, Seed: 7, Stratify: "n"},
		"group":      {Test: 0.2, Seed: 7, Group: "g"},
		"time":       {Time: "test", After: "2024-04-01"},
	} {
		t.Run(name, func(t *testing.T) {
			train, test := split(t, in, d)
			if !slices.IsSorted(ids(train)) || !slices.IsSorted(ids(test)) {
				t.Error("the order is another one")
			}
			both := append(ids(train), ids(test)...)
			slices.Sort(both)
			for i, n := range both {
				if i != n {
					t.Fatalf("row %d is missing or there twice", i)
				}
			}
			again, testAgain := split(t, in, d)
			equal(t, train, again)
			equal(t, test, testAgain)
			if d.Time == "" {
				d.Seed = 8
				if _, other := split(t, in, d); slices.Equal(test, other) {
					t.Error("another seed makes no difference")
				}
				if len(test) != 600 {
					t.Errorf("%d rows of 3000 in the test, want 600", len(test))
				}
			}
		})
	}
}

func TestSplitByGroupKeepsGroupsWhole(t *testing.T) {
	in := events(t, 2000)
	for seed := range int64(5) {
		train, test := split(t, in, engine.Division{Test: 0.25, Seed: seed, Group: "g"})
		groups := map[string]bool{}
		for _, g := range column(test, 1) {
			groups[g] = true
		}
		if len(groups) != 5 {
			t.Errorf("seed %d: %d groups of 20 in the test, want 5", seed, len(groups))
		}
		for _, g := range column(train, 1) {
			if groups[g] {
				t.Fatalf("seed %d: group %s is in both parts", seed, g)
			}
		}
	}
}

func TestSplitStratifiedKeepsTheShares(t *testing.T) {
	in := events(t, 1000)
	for seed := range int64(5) {
		_, test := split(t, in, engine.Division{Test: 0.2, Seed: seed, Stratify: "n"})
		rare := 0
		for _, n := range column(test, 2) {
			if n == "rare" {
				rare++
			}
		}
		if rare < 19 || rare > 21 || len(test) != 200 {
			t.Errorf("seed %d: %d rare of %d", seed, rare, len(test))
		}
	}
}

func TestSplitByTimeBeginsTheTestAtTheGivenTime(t *testing.T) {
	train, test := split(t, events(t, 48), engine.Division{Time: "test", After: "2024-01-02"})
	if len(train) != 24 || len(test) != 24 || column(test, 3)[0] != "2024-01-02 00:00:00" {
		t.Errorf("train %d, test %d from %s", len(train), len(test), test[0])
	}
}

func TestSplitLeavesMostRowsOnTheirSideWhenATableGrows(t *testing.T) {
	d := engine.Division{Test: 0.2, Seed: 1, Keys: []string{"row"}}
	_, small := split(t, events(t, 2000), d)
	_, large := split(t, events(t, 2200), d)
	in := map[int]bool{}
	for _, n := range ids(large) {
		in[n] = true
	}
	moved := 0
	for _, n := range ids(small) {
		if !in[n] {
			moved++
		}
	}
	if moved > 20 {
		t.Errorf("%d of %d rows moved", moved, len(small))
	}
}

func TestSplitFailsWithoutTwoParts(t *testing.T) {
	in := events(t, 24)
	one := table(t, "SELECT i AS a, NULL::TIMESTAMP AS at FROM range(2) t(i)", ir.Schema{{Name: "a", Type: "int64"}, {Name: "at", Type: "timestamp"}})
	sameGroup := table(t, "SELECT 1::BIGINT AS a FROM range(5) t(i)", ir.Schema{{Name: "a", Type: "int64"}})
	for _, tt := range []struct {
		in   string
		d    engine.Division
		want string
	}{
		{in, engine.Division{Time: "test", After: "2025-01-01"}, `the test part is empty: column "test" ranges from 2024-01-01 00:00:00 to 2024-01-01 23:00:00, and the test part starts at 2025-01-01`},
		{in, engine.Division{Time: "test", After: "2024-01-01"}, `the training part is empty: column "test" ranges from 2024-01-01 00:00:00 to 2024-01-01 23:00:00, and the test part starts at 2024-01-01`},
		{in, engine.Division{Time: "test", After: "soon"}, `the test part starts after "soon", which is not a TIMESTAMP like column "test"`},
		{one, engine.Division{Time: "at", After: "2024-01-01"}, `column "at" is null in 2 of 2 rows, which are neither before nor after 2024-01-01`},
		{sameGroup, engine.Division{Group: "a", Test: 0.5}, `the training part is empty: cannot hold out 0.5 of the groups of column "a"`},
		{events(t, 1), engine.Division{Test: 0.5}, `the training part is empty: cannot hold out 0.5 of 1 rows`},
		{events(t, 0), engine.Division{Test: 0.5}, `the table has no rows to split`},
		{in, engine.Division{Test: 1.5}, `the test share is 1.5; it must be between 0 and 1`},
		{in, engine.Division{}, `a split has either a test share, or a column and a start time of the test part`},
		{in, engine.Division{Test: 0.5, Stratify: "nope"}, `table.parquet: column "nope" is missing; the columns are row, g, n, test`},
	} {
		dir := t.TempDir()
		err := engine.Split(context.Background(), tt.in, tt.d, filepath.Join(dir, "a"), filepath.Join(dir, "b"), engine.Limits{})
		wantError(t, err, tt.want)
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
}
