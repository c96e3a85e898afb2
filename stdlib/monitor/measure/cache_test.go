package measure

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// What a cache keeps changes no figure: while parts come and go at the ends of a window, its report is that of the same
// rows in one query, also if the cache has room for a few of them only.
func TestACacheChangesNothing(t *testing.T) {
	db := database(t)
	random := rand.New(rand.NewPCG(1, 2))
	// Numbers with NULL, NaN and infinities; few numbers, which are categories; times; texts.
	row := func() string {
		x := fmt.Sprintf("%.2f::DOUBLE", random.NormFloat64()*3)
		switch random.IntN(12) {
		case 0:
			x = "NULL"
		case 1:
			x = "'nan'::DOUBLE"
		case 2:
			x = "'-inf'::DOUBLE"
		case 3:
			x = "-0.0::DOUBLE"
		}
		return fmt.Sprintf("(%s, %d::BIGINT, to_timestamp(%d), CASE WHEN %d > 0 THEN 'c%[4]d' END, [1])", x, random.IntN(4), random.IntN(1e6), random.IntN(5))
	}
	rows := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = row()
		}
		return "(SELECT * FROM (VALUES " + strings.Join(all, ", ") + ") t(x, few, moment, text, list))"
	}
	reference := rows(60)
	columns := []Attribute{{"x", "DOUBLE", `"x"`}, {"few", "BIGINT", `"few"`}, {"moment", "TIMESTAMP WITH TIME ZONE", `"moment"`}, {"text", "VARCHAR", `"text"`}, {"list", "INTEGER[]", `"list"`}}
	spec := DriftSpec{Columns: []Column{{Name: "x"}, {Name: "few"}, {Name: "moment", Test: TestWassersteinSD}, {Name: "text"}, {Name: "list"}}}
	for _, most := range []int64{1 << 20, 5000, 0} {
		cache := NewCache(most)
		var parts []Part
		for look := range 8 {
			for range 1 + random.IntN(30) {
				p := Part{Key: fmt.Sprint(most, "/", look, "/", len(parts)), SQL: rows(1 + random.IntN(3)), Rows: Uncounted}
				if random.IntN(10) == 0 {
					p.Key = ""
				}
				parts = append(parts, p)
			}
			parts = parts[random.IntN(len(parts)/2+1):]
			var all []string
			for _, p := range parts {
				all = append(all, "FROM "+p.SQL)
			}
			plain := strings.Join(all, " UNION ALL ")
			want, err := Drift(t.Context(), db, reference, plain, spec)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Compare(t.Context(), db, cache, Rows{SQL: reference, Parts: []Part{{Key: "reference", SQL: reference, Rows: 60}}, Columns: columns},
				Rows{SQL: plain, Parts: slices.Clone(parts), Columns: columns}, spec)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := json.Marshal(want)
			b, _ := json.Marshal(got)
			if string(a) != string(b) {
				t.Fatalf("look %d at %d parts with a cache of %d bytes:\n%s\nwant\n%s", look, len(parts), most, b, a)
			}
			if cache.size > most {
				t.Fatalf("the cache has %d bytes, and may have %d", cache.size, most)
			}
		}
	}
}

// Parts that stay are not joined again when others come or go.
func TestGroupsOfPartsStay(t *testing.T) {
	keys := func(from, to int) map[string]bool {
		parts := make([]part, 0, to-from)
		for i := from; i < to; i++ {
			parts = append(parts, part{key: fmt.Sprint("file ", i)})
		}
		found := map[string]bool{}
		var add func(n *node)
		add = func(n *node) {
			if len(n.of) > 0 {
				found[n.key] = true
			}
			for _, child := range n.of {
				add(child)
			}
		}
		for _, n := range tree(parts) {
			add(n)
		}
		return found
	}
	before, after := keys(0, 1440), keys(1, 1441)
	changed := 0
	for key := range after {
		if !before[key] {
			changed++
		}
	}
	if len(after) < 50 || changed > 8 {
		t.Errorf("of %d groups, %d are new", len(after), changed)
	}
}
