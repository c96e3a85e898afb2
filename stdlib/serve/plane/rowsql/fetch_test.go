package rowsql_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A sortedStore is a store with the entries of one lookup in the order of their keys.
type sortedStore [][2][]byte

func newStore(t testing.TB, prog *rowsql.Program, lookup int, table [][]rowsql.Value) sortedStore {
	t.Helper()
	e, err := prog.NewEntries(lookup)
	if err != nil {
		t.Fatal(err)
	}
	var s sortedStore
	for _, in := range table {
		key, row, found, err := e.Entry(in)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			s = append(s, [2][]byte{bytes.Clone(key), bytes.Clone(row)})
		}
	}
	slices.SortFunc(s, func(a, b [2][]byte) int { return bytes.Compare(a[0], b[0]) })
	return s
}

func (s sortedStore) get(w rowsql.Want) (key, row []byte) {
	for _, e := range s {
		switch {
		case w.End == nil && bytes.Equal(e[0], w.Key):
			return e[0], e[1]
		case w.End != nil && bytes.Compare(e[0], w.Key) >= 0 && bytes.Compare(e[0], w.End) < 0:
			if key, row = e[0], e[1]; !w.Last {
				return key, row
			}
		}
	}
	return key, row
}

// runWithStores computes rows as [run] does, with all lookups in stores. rounds is how often it
// had to fetch.
func runWithStores(t testing.TB, plan *rowsql.Plan, tables map[string][][]rowsql.Value, rows [][]rowsql.Value) (all [][]string, errs []error, rounds int) {
	t.Helper()
	prog, err := rowsql.Load(plan)
	if err != nil {
		t.Fatal(err)
	}
	var stores []sortedStore
	r, out := prog.NewRow(), make([]rowsql.Value, len(plan.Outputs))
	for i, l := range plan.Lookups {
		stores = append(stores, newStore(t, prog, i, tables[l.Input.Name]))
		f, err := prog.NewFetched(i)
		if err != nil {
			t.Fatal(err)
		}
		r.Fetched = append(r.Fetched, f)
	}
	none := make([]*rowsql.Rows, len(plan.Lookups))
	for {
		missing := false
		for _, in := range rows {
			_, err := prog.Run(r, none, in, out)
			missing = missing || errors.Is(err, rowsql.ErrMissing)
		}
		if !missing {
			break
		}
		rounds++
		for i, f := range r.Fetched {
			for n, w := range f.Wanted() {
				key, row := stores[i].get(w)
				if err := f.Set(n, key, row); err != nil {
					t.Fatal(err)
				}
			}
			f.Done()
		}
	}
	all, errs = make([][]string, len(rows)), make([]error, len(rows))
	for i, in := range rows {
		keep, err := prog.Run(r, none, in, out)
		if errs[i] = err; err != nil || !keep {
			continue
		}
		for j, v := range out {
			all[i] = append(all[i], textOf(t, v, plan.Outputs[j].Type))
		}
	}
	return all, errs, rounds
}

// outside reports whether the rows of all lookups can be in stores.
func outside(plan *rowsql.Plan) bool {
	return !slices.ContainsFunc(plan.Lookups, func(l rowsql.Lookup) bool { return l.Outside() != "" })
}

// What several joins need is fetched at once, unless one needs the row of another.
func TestRowsOfStoresAreFetchedTogether(t *testing.T) {
	tables := shopTables("string", "timestamp")
	given := map[string][][]rowsql.Value{
		"p": {{rowsql.Int(1), rowsql.String("a")}, {rowsql.Int(2), rowsql.String("b")}},
		"w": {{rowsql.String("a"), rowsql.Int(5), rowsql.Int(10)}, {rowsql.String("a"), rowsql.Int(7), rowsql.Int(20)}},
	}
	var rows [][]rowsql.Value
	for i, k := range []string{"a", "b", "none", "a"} {
		rows = append(rows, []rowsql.Value{rowsql.Int(int64(i)), rowsql.String(k), rowsql.Int(int64(5 + i)), rowsql.Int(1)})
	}
	for query, want := range map[string]int{
		"SELECT f.id, p.y, w.x FROM f LEFT JOIN p ON f.k = p.k ASOF LEFT JOIN w ON f.k = w.k AND f.t >= w.t": 1,
		"SELECT f.id, p.y, w.x FROM f JOIN p ON f.k = p.k ASOF JOIN w ON f.k = w.k AND f.t >= w.t":           1,
		"SELECT f.id, p.y, w.x FROM f LEFT JOIN p ON f.k = p.k ASOF LEFT JOIN w ON p.k = w.k AND f.t >= w.t": 2,
	} {
		plan, err := compile(t, tables, query)
		if err != nil {
			t.Fatal(err)
		}
		lookups, err := lookupRows(plan, given)
		if err != nil {
			t.Fatal(err)
		}
		inMemory, _ := run(t, plan, lookups, rows)
		got, _, rounds := runWithStores(t, plan, given, rows)
		if diff := cmp.Diff(inMemory, got); diff != "" || rounds != want {
			t.Errorf("%s: fetched %d times, want %d: %s", query, rounds, want, diff)
		}
	}
}

// Each value of a row has its bits again after it was in a store, and a damaged row is an error.
func TestRowsOfStoresKeepTheirBits(t *testing.T) {
	table := rowsql.Table{Name: "p", Keys: [][]string{{"k"}}, Schema: ir.Schema{{Name: "k", Type: "int64"}}}
	row, query := []rowsql.Value{rowsql.Int(1)}, "SELECT f.id"
	for name, v := range map[string]rowsql.Value{
		"bool": rowsql.Bool(true), "int8": rowsql.Int(-128), "int16": rowsql.Int(-3), "int32": rowsql.Int(math.MinInt32), "int64": rowsql.Int(math.MinInt64),
		"uint8": rowsql.Uint(255), "uint16": rowsql.Uint(65535), "uint32": rowsql.Uint(math.MaxUint32), "uint64": rowsql.Uint(math.MaxUint64),
		"float32": rowsql.Float32(float32(math.Inf(-1))), "float64": rowsql.Float(0.1), "string": rowsql.String("a\x00é\xff"), "bytes": rowsql.String(""),
		"date": rowsql.Int(-1), "time": rowsql.Int(86399999999), "timestamp": rowsql.Int(-5), "timestamptz": rowsql.Int(1 << 60),
	} {
		table.Schema = append(table.Schema, ir.Column{Name: "c" + name, Type: name}, ir.Column{Name: "n" + name, Type: name, Nullable: true})
		row = append(row, v, rowsql.Null)
		query += ", p.c" + name + ", p.n" + name
	}
	f := rowsql.Table{Name: "f", Schema: ir.Schema{{Name: "id", Type: "int64"}}}
	plan, err := compile(t, []rowsql.Table{f, table}, query+" FROM f JOIN p ON f.id = p.k")
	if err != nil {
		t.Fatal(err)
	}
	prog, err := rowsql.Load(plan)
	if err != nil {
		t.Fatal(err)
	}
	store := newStore(t, prog, 0, [][]rowsql.Value{row})
	fetched, err := prog.NewFetched(0)
	if err != nil {
		t.Fatal(err)
	}
	r, out := prog.NewRow(), make([]rowsql.Value, len(plan.Outputs))
	r.Fetched = []*rowsql.Fetched{fetched}
	if _, err := prog.Run(r, []*rowsql.Rows{nil}, row[:1], out); !errors.Is(err, rowsql.ErrMissing) {
		t.Fatalf("%v, want a missing row", err)
	}
	whole := store[0][1]
	for n := range whole {
		if err := fetched.Set(0, store[0][0], whole[:n]); err == nil {
			t.Errorf("the first %d bytes of %d are a row", n, len(whole))
		}
	}
	for _, damaged := range [][]byte{append(bytes.Clone(whole), 0), append([]byte{9}, whole[1:]...)} {
		if err := fetched.Set(0, store[0][0], damaged); err == nil {
			t.Errorf("%x is a row", damaged)
		}
	}
	if err := fetched.Set(0, append(bytes.Clone(store[0][0]), 1), whole); err == nil {
		t.Error("the row of another key is taken")
	}
	if err := fetched.Set(0, store[0][0], whole); err != nil {
		t.Fatal(err)
	}
	fetched.Done()
	if kept, err := prog.Run(r, []*rowsql.Rows{nil}, row[:1], out); err != nil || !kept {
		t.Fatal(kept, err)
	}
	if diff := cmp.Diff(row, out); diff != "" {
		t.Error(diff)
	}
}

func TestTimesThatAStoreCannotOrderAreRefused(t *testing.T) {
	for at, refused := range map[string]bool{"timestamp": false, "timestamptz": false, "date": false, "int8": false, "uint64": false, "float64": true, "string": true, "float32": true} {
		plan, err := compile(t, shopTables("string", at), "SELECT f.id, w.x FROM f ASOF LEFT JOIN w ON f.k = w.k AND f.t >= w.t")
		if err != nil {
			t.Fatal(err)
		}
		if says := plan.Lookups[0].Outside(); (says != "") != refused || refused && !strings.Contains(says, "order") {
			t.Errorf("%s: %q", at, says)
		}
	}
}
