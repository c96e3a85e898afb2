package window_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// Requests of a table and of a log are served alike: in a release, each version answers its share,
// and no request is answered twice.
func TestRecordedRequestsAreServedByTwoVersions(t *testing.T) {
	db, dir := open(t), t.TempDir()
	// A row of the table each second, in no order, and some outside the period.
	table := write(t, db, filepath.Join(dir, "table.parquet"), `SELECT i AS id, TIMESTAMP '2026-01-31 12:00:00' + to_seconds(i - 5) AS at, i::DOUBLE AS temp FROM range(1010) t(i) ORDER BY hash(i)`)
	log := write(t, db, filepath.Join(dir, "log.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' + to_seconds(i - 5) AS "time", i::VARCHAR AS request_id, 0::INTEGER AS "row", i::DOUBLE AS "request.temp", true AS prediction FROM range(1010) t(i) ORDER BY hash(i)`)
	older := write(t, db, filepath.Join(dir, "older.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:30+00' AS "time", 'x' AS request_id, 0::INTEGER AS "row", 7 AS "request.other"`)
	for _, from := range []string{"table", "log"} {
		t.Run(from, func(t *testing.T) {
			take := window.Take{
				Logged: []ir.Logged{{Name: "temp", Log: "request.temp", Type: "float64"}, {Name: "request_id", Log: "request_id", Type: "string"}}, Inputs: []string{"temp"},
				Begin: begin, End: begin.Add(1000 * time.Second),
				Requests: filepath.Join(t.TempDir(), "requests.parquet"), Rows: filepath.Join(t.TempDir(), "rows.parquet"),
			}
			var files []string
			if from == "table" {
				take.Table, take.Time, take.ID = table, "at", "id"
			} else {
				files = []string{older, log}
			}
			taken, err := window.Prepare(t.Context(), db, files, &window.Preparation{Take: &take})
			if err != nil {
				t.Fatal(err)
			}
			if taken.Rows != 1000 || !taken.First.Equal(begin) || !taken.Last.Equal(begin.Add(999*time.Second)) {
				t.Fatalf("%d requests from %s to %s were taken", taken.Rows, taken.First, taken.Last)
			}
			if lost := len(taken.Notes) > 0; lost != (from == "log") {
				t.Errorf("notes are %q", taken.Notes)
			}
			answers := func(name string, answer bool) string {
				return write(t, db, filepath.Join(t.TempDir(), name), fmt.Sprintf(`SELECT ".n", %t AS prediction, 0.5::DOUBLE AS probability_true FROM '%s' ORDER BY hash(".n")`, answer, take.Rows))
			}
			serve := window.Serve{
				Requests: take.Requests, Begin: begin.Add(100 * time.Second), End: begin.Add(500 * time.Second), To: filepath.Join(t.TempDir(), "served.parquet"),
				Answers: []window.Answers{{Path: answers("a.parquet", false), Weight: 75}, {Path: answers("b.parquet", true), Weight: 25}},
			}
			served, err := window.Prepare(t.Context(), db, nil, &window.Preparation{Serve: &serve})
			if err != nil || served.Rows != 400 {
				t.Fatalf("%+v, %v", served, err)
			}
			rows := numbers(t, db, fmt.Sprintf(`SELECT count(*) FILTER (prediction), count(DISTINCT request_id), min("request.temp"), max("request.temp"), count("probability.true") FROM '%s'`, serve.To), 5)
			if want := []float64{100, 400, 105, 504, 400}; !slices.Equal(rows, want) {
				t.Errorf("there are %v, want %v", rows, want)
			}
		})
	}
}

// All rows of a request are answered by the same version.
func TestRowsOfOneRequestStayTogether(t *testing.T) {
	db, dir := open(t), t.TempDir()
	requests := write(t, db, filepath.Join(dir, "requests.parquet"), `SELECT i AS ".n", TIMESTAMPTZ '2026-01-31 12:00:00+00' + to_seconds(i // 3) AS "time", (i // 3)::VARCHAR AS request_id, (i % 3)::INTEGER AS "row" FROM range(300) t(i)`)
	answers := func(answer bool) string {
		return write(t, db, filepath.Join(dir, fmt.Sprint(answer)), fmt.Sprintf(`SELECT i AS ".n", %t AS prediction FROM range(300) t(i)`, answer))
	}
	serve := window.Serve{
		Requests: requests, Begin: begin, End: begin.Add(time.Hour), To: filepath.Join(dir, "served.parquet"),
		Answers: []window.Answers{{Path: answers(false), Weight: 75}, {Path: answers(true), Weight: 25}},
	}
	if _, err := window.Prepare(t.Context(), db, nil, &window.Preparation{Serve: &serve}); err != nil {
		t.Fatal(err)
	}
	got := numbers(t, db, fmt.Sprintf("SELECT count(*), count(DISTINCT request_id), count(DISTINCT request_id) FILTER (prediction), count(DISTINCT (request_id, prediction)) FROM '%s'", serve.To), 4)
	if want := []float64{300, 100, 25, 100}; !slices.Equal(got, want) {
		t.Errorf("there are %v rows, requests, requests of the challenger and pairs of both, want %v", got, want)
	}
}

// Rows are cut at a time: what comes later is not known.
func TestRowsAreCutAtATime(t *testing.T) {
	db, dir := open(t), t.TempDir()
	table := write(t, db, filepath.Join(dir, "table.parquet"), `SELECT i, DATE '2026-01-01' + i::INTEGER AS day FROM range(31) t(i)`)
	cut := window.Cut{Table: table, Time: "day", Before: time.Date(2026, 1, 11, 0, 0, 0, 0, time.UTC)}
	for _, to := range []string{"", filepath.Join(dir, "cut.parquet")} {
		cut.To = to
		found, err := window.Prepare(t.Context(), db, nil, &window.Preparation{Cut: &cut})
		if err != nil || found.Rows != 10 || !found.Last.Equal(cut.Before.Add(-24*time.Hour)) {
			t.Errorf("to %q: %+v, %v", to, found, err)
		}
	}
	if n := numbers(t, db, "SELECT count(*), max(i) FROM '"+cut.To+"'", 2); !slices.Equal(n, []float64{10, 9}) {
		t.Errorf("the file has %v", n)
	}
}

// numbers returns the only row of a query.
func numbers(t *testing.T, db *sql.DB, query string, n int) []float64 {
	t.Helper()
	values, dest := make([]float64, n), make([]any, n)
	for i := range values {
		dest[i] = &values[i]
	}
	if err := db.QueryRowContext(t.Context(), query).Scan(dest...); err != nil {
		t.Fatal(err)
	}
	return values
}
