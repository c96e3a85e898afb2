package window_test

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// begin is the beginning of the windows of these tests.
var begin = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// write writes the rows of a query to a Parquet file.
func write(t *testing.T, db *sql.DB, path, query string) string {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf("COPY (%s) TO '%s' (FORMAT parquet)", query, path)); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T) *sql.DB {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.ExecContext(context.Background(), "SET GLOBAL TimeZone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	return db
}

// figure returns a figure of all rows, or nil if it is not known.
func figure(r *measure.Report, column, name string) *float64 {
	for _, f := range r.Figures {
		if f.Column == column && f.Name == name && len(f.Segment) == 0 {
			return f.Value
		}
	}
	return nil
}

// A window contains its beginning and not its end, and only rows of versions with the same columns.
func TestDriftOfAWindow(t *testing.T) {
	db, dir := open(t), t.TempDir()
	reference := write(t, db, filepath.Join(dir, "reference.parquet"), "SELECT i AS id, i::DOUBLE AS temp FROM range(100) t(i)")
	log := write(t, db, filepath.Join(dir, "log [1].parquet"), `SELECT TIMESTAMPTZ '2026-01-31 11:59:59+00' + to_seconds(i) AS "time", i::DOUBLE AS "request.temp" FROM range(62) t(i)`)
	older := write(t, db, filepath.Join(dir, "older.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:30+00' AS "time", 7 AS "request.other" FROM range(1000)`)
	q := window.Question{
		Monitor: ir.Monitor{MinRows: 10, Drift: &ir.Drift{Alpha: 0.05, Columns: []ir.Compared{{Logged: ir.Logged{Name: "temp", Log: "request.temp", Type: "float64"}}}}},
		Begin:   begin, End: begin.Add(time.Minute), Now: begin.Add(time.Minute), Reference: reference,
	}
	a, err := window.Run(t.Context(), db, []string{older, log}, &q)
	if err != nil {
		t.Fatal(err)
	}
	if a.Rows != 60 || a.ReferenceRows != 100 {
		t.Errorf("there are %d rows, compared with %d, want 60 and 100", a.Rows, a.ReferenceRows)
	}
	if low, high := figure(a.Report, "temp", measure.FigureMin), figure(a.Report, "temp", measure.FigureMax); low == nil || *low != 1 || high == nil || *high != 60 {
		t.Errorf("temp is from %v to %v, want 1 to 60", low, high)
	}
	if len(a.Notes) != 1 || a.Notes[0] != "requests that versions without the columns request.temp answered are left out" {
		t.Errorf("notes are %q", a.Notes)
	}
	if a, err = window.Run(t.Context(), db, nil, &q); err != nil || a.Verdict != measure.Unknown || a.Rows != 0 {
		t.Errorf("without files there is %+v, %v", a, err)
	}
}

// A cache changes nothing while files come and a window moves over them, and files are deleted.
func TestACacheOfFilesChangesNothing(t *testing.T) {
	db, dir := open(t), filepath.Join(t.TempDir(), "a [log]") // no pattern
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	reference := write(t, db, filepath.Join(dir, "reference.parquet"), "SELECT i::DOUBLE AS temp, 'c' || i % 3 AS kind FROM range(50) t(i)")
	logged := func(name, typ string) ir.Compared {
		return ir.Compared{Logged: ir.Logged{Name: name, Log: "request." + name, Type: typ}}
	}
	kept := &window.Cache{Samples: measure.NewCache(1 << 20)}
	var files []string
	for minute := range 12 {
		rows := fmt.Sprintf(`SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' + to_seconds(60 * %d + i * 7) AS "time", (i * %[1]d %% 40)::DOUBLE AS "request.temp", 'c' || (i + %[1]d) %% 5 AS "request.kind" FROM range(9) t(i)`, minute)
		if minute == 5 { // another version, whose column has another type
			rows = strings.Replace(rows, "::DOUBLE AS", "::INTEGER AS", 1)
		}
		files = append(files, write(t, db, filepath.Join(dir, fmt.Sprintf("%02d.parquet", minute)), rows))
		end := begin.Add(time.Duration(minute)*time.Minute + 30*time.Second)
		q := window.Question{
			Monitor: ir.Monitor{MinRows: 1, Drift: &ir.Drift{Alpha: 0.05, Columns: []ir.Compared{logged("temp", "float64"), logged("kind", "string")}}},
			Begin:   end.Add(-4 * time.Minute), End: end, Now: end, Reference: reference,
		}
		want, err := window.Run(t.Context(), db, files, &q)
		if err != nil {
			t.Fatal(err)
		}
		got, err := kept.Run(t.Context(), db, files, &q)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("minute %d: %s", minute, diff)
		}
		if want.Rows == 0 {
			t.Fatalf("minute %d has no rows", minute)
		}
		if minute > 7 {
			if err := os.Remove(files[0]); err != nil {
				t.Fatal(err)
			}
			files = files[1:]
		}
	}
}

// A log that begins within the window is noted, and a window that begins without requests is not.
func TestTheBeginningOfTheLogIsNoted(t *testing.T) {
	db, dir := open(t), t.TempDir()
	reference := write(t, db, filepath.Join(dir, "reference.parquet"), "SELECT 1.5 AS temp")
	log := write(t, db, filepath.Join(dir, "log.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:30+00' AS "time", 1.5::DOUBLE AS "request.temp"`)
	older := write(t, db, filepath.Join(dir, "older.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 11:00:00+00' AS "time", 1.5::DOUBLE AS "request.temp"`)
	if err := os.Chtimes(older, begin, begin.Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	q := window.Question{
		Monitor: ir.Monitor{MinRows: 1, Drift: &ir.Drift{Alpha: 0.05, Columns: []ir.Compared{{Logged: ir.Logged{Name: "temp", Log: "request.temp", Type: "float64"}}}}},
		Begin:   begin, End: begin.Add(time.Minute), Now: begin.Add(time.Minute), Reference: reference,
	}
	for want, files := range map[string][]string{
		"": {older, log},
		"the log begins at 2026-01-31T12:00:30Z, after the beginning of the window": {log},
	} {
		a, err := window.Run(t.Context(), db, files, &q)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(a.Notes, "; "); got != want || a.Rows != 1 {
			t.Errorf("%d files, %d rows: notes %q, want %q", len(files), a.Rows, got, want)
		}
	}
}

// A label counts if it became known between its request and the end of the time for labels, and by
// now. The first one counts. Ambiguous ones do not.
func TestLabelsOfAWindow(t *testing.T) {
	const within = 10 * time.Minute
	for _, c := range []struct {
		name   string
		labels string // known, minutes after the request; label
		now    time.Duration
		known  string // "true", "false", or "" if the request has no label
	}{
		{"at the time of the request", "(0, true)", time.Hour, "true"},
		{"before the request", "(-1, true)", time.Hour, ""},
		{"at the last moment", "(10, true)", time.Hour, "true"},
		{"too late", "(11, true)", time.Hour, ""},
		{"the first one counts", "(5, false), (3, true), (11, false)", time.Hour, "true"},
		{"a label before the request does not hide a later one", "(-5, false), (3, true)", time.Hour, "true"},
		{"two at once that agree", "(3, true), (3, true)", time.Hour, "true"},
		{"two at once that differ", "(3, true), (3, false)", time.Hour, ""},
		{"not known yet", "(8, true)", 5 * time.Minute, ""},
		{"null is no label", "(3, NULL), (4, false)", time.Hour, "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, dir := open(t), t.TempDir()
			log := write(t, db, filepath.Join(dir, "log.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' AS "time", 'r1' AS request_id, 0::INTEGER AS "row", 7 AS "request.id", true AS prediction, 0.8::DOUBLE AS "probability.true"`)
			labels := write(t, db, filepath.Join(dir, "labels.parquet"), fmt.Sprintf(
				"SELECT 7 AS id, TIMESTAMP '2026-01-31 12:00:00' + to_minutes(m) AS known, late::BOOLEAN AS late FROM (VALUES %s, (1, NULL)) t(m, late) UNION ALL SELECT 8, TIMESTAMP '2026-01-31 12:00:01', false", c.labels))
			q := window.Question{
				Monitor: ir.Monitor{MinRows: 1, Quality: &ir.Quality{
					Task: measure.Classification, Binary: true, Label: ir.Column{Name: "late", Type: "bool"},
					Joined: ir.Joined{
						Within: within, Timestamp: ir.Column{Name: "known", Type: "timestamp"},
						Labels: []ir.Column{{Name: "id", Type: "int32"}}, Join: []ir.Logged{{Name: "id", Log: "request.id", Type: "int32"}},
					},
				}},
				Begin: begin, End: begin.Add(time.Minute), Now: begin.Add(c.now), Labels: labels,
			}
			a, err := window.Run(t.Context(), db, []string{log}, &q)
			if err != nil {
				t.Fatal(err)
			}
			share, accuracy := figure(a.Report, "", measure.FigureLabelled), figure(a.Report, "", "accuracy")
			got := ""
			if share != nil && *share == 1 && accuracy != nil {
				got = fmt.Sprint(*accuracy == 1)
			}
			if a.Rows != 1 || got != c.known {
				t.Errorf("the label of %d requests is %q, want %q", a.Rows, got, c.known)
			}
		})
	}
}

// A limit of a metric that needs a probability is not known where no row has one.
func TestAGateOnAMetricOfAProbability(t *testing.T) {
	db, dir := open(t), t.TempDir()
	log := write(t, db, filepath.Join(dir, "log.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' AS "time", 'r1' AS request_id, 0::INTEGER AS "row", 7 AS "request.id", true AS prediction`)
	labels := write(t, db, filepath.Join(dir, "labels.parquet"), "SELECT 7 AS id, TIMESTAMP '2026-01-31 12:00:01' AS known, true AS late")
	least := 0.5
	for name, c := range map[string]struct {
		files  []string
		reason string
	}{
		"no requests":    {nil, "the window has no rows"},
		"no probability": {[]string{log}, "roc_auc is not known: no probability of the positive class is recorded"},
	} {
		q := window.Question{
			Monitor: ir.Monitor{MinRows: 1, Quality: &ir.Quality{
				Task: measure.Classification, Binary: true, Gates: map[string]ir.Gate{"roc_auc": {Min: &least}}, Label: ir.Column{Name: "late", Type: "bool"},
				Joined: ir.Joined{
					Within: time.Minute, Timestamp: ir.Column{Name: "known", Type: "timestamp"},
					Labels: []ir.Column{{Name: "id", Type: "int32"}}, Join: []ir.Logged{{Name: "id", Log: "request.id", Type: "int32"}},
				},
			}},
			Begin: begin, End: begin.Add(time.Minute), Now: begin.Add(time.Hour), Labels: labels,
		}
		a, err := window.Run(t.Context(), db, c.files, &q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if a.Verdict != measure.Unknown || a.Reason != c.reason {
			t.Errorf("%s: %s, %q, want unknown, %q", name, a.Verdict, a.Reason, c.reason)
		}
	}
}

// Of several classes, the accuracy is estimated from the probability of the predicted one.
func TestEstimatedAccuracyOfClasses(t *testing.T) {
	db, dir := open(t), t.TempDir()
	// Predictions are right as often as their probabilities say: four of five, and one of two. Later ones are surer.
	log := write(t, db, filepath.Join(dir, "log.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' + to_milliseconds(i) AS "time", i::VARCHAR AS request_id, 0::INTEGER AS "row",
['a', 'b', 'c'][1 + i % 3] AS prediction, if(i < 1000 AND i % 2 = 0, 0.5, 0.8)::DOUBLE AS probability, i AS "request.id" FROM range(2000) t(i)`)
	labels := write(t, db, filepath.Join(dir, "labels.parquet"), `SELECT i AS id, TIMESTAMPTZ '2026-01-31 12:00:10+00' AS known,
if(if(i % 2 = 0, i % 4 = 0, i % 10 <> 1), ['a', 'b', 'c'][1 + i % 3], 'd') AS kind FROM range(1000) t(i)`)
	q := window.Question{
		Monitor: ir.Monitor{MinRows: 10, Window: 59 * time.Second, Quality: &ir.Quality{
			Task: measure.Classification, Label: ir.Column{Name: "kind", Type: "string"},
			Joined: ir.Joined{
				Within: time.Minute, Timestamp: ir.Column{Name: "known", Type: "timestamptz"},
				Labels: []ir.Column{{Name: "id", Type: "int64"}}, Join: []ir.Logged{{Name: "id", Log: "request.id", Type: "int64"}},
			},
		}},
		Begin: begin, End: begin.Add(time.Second), Now: begin.Add(time.Minute), Labels: labels,
	}
	a, err := window.Run(t.Context(), db, []string{log}, &q)
	if err != nil {
		t.Fatal(err)
	}
	if got := figure(a.Report, "", "accuracy"); got == nil || math.Abs(*got-0.65) > 1e-9 {
		t.Errorf("the accuracy is %v, want 0.65", got)
	}
	if a.Estimate == nil || a.Estimate.Rows != 1000 || len(a.Estimate.Figures) != 1 {
		t.Fatalf("the estimate is %+v", a.Estimate)
	}
	if f := a.Estimate.Figures[0]; f.Name != "accuracy" || math.Abs(*f.Value-0.8) > 1e-9 || *f.Lower >= 0.8 || *f.Upper <= 0.8 {
		t.Errorf("the estimate is %s %v", f.Name, *f.Value)
	}
}

// The id of a request identifies its row only if it has one.
func TestLabelsByTheIDOfARequest(t *testing.T) {
	db, dir := open(t), t.TempDir()
	log := write(t, db, filepath.Join(dir, "log.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' AS "time", id AS request_id, n::INTEGER AS "row", 1.5 AS prediction FROM (VALUES ('one', 0), ('two', 0), ('two', 1)) t(id, n)`)
	labels := write(t, db, filepath.Join(dir, "labels.parquet"), "SELECT id, TIMESTAMPTZ '2026-01-31 12:00:01+00' AS known, 2.5 AS minutes FROM (VALUES ('one'), ('two')) t(id)")
	q := window.Question{
		Monitor: ir.Monitor{MinRows: 1, Quality: &ir.Quality{
			Task: measure.Regression, Label: ir.Column{Name: "minutes", Type: "float64"},
			Joined: ir.Joined{
				Within: time.Minute, Timestamp: ir.Column{Name: "known", Type: "timestamptz"},
				Labels: []ir.Column{{Name: "id", Type: "string"}}, Join: []ir.Logged{{Name: "request_id", Log: "request_id", Type: "string"}},
			},
		}},
		Begin: begin, End: begin.Add(time.Minute), Now: begin.Add(time.Hour), Labels: labels,
	}
	a, err := window.Run(t.Context(), db, []string{log}, &q)
	if err != nil {
		t.Fatal(err)
	}
	share, off := figure(a.Report, "", measure.FigureLabelled), figure(a.Report, "", "mean_absolute_error")
	if share == nil || *share != 1.0/3 || off == nil || *off != 1 {
		t.Errorf("labelled is %v and the mean absolute error %v, want a third and 1", share, off)
	}
}

// Traffic is counted by interval and version. The beginning counts, the end does not.
func TestTrafficOfALog(t *testing.T) {
	db, dir := open(t), t.TempDir()
	log := write(t, db, filepath.Join(dir, "log.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' + to_seconds(s) AS "time", id AS request_id, r::INTEGER AS "row", v::INTEGER AS version, us AS latency_us
FROM (VALUES (-1, 'a', 0, 1, 9), (0, 'b', 0, 1, 1000), (0, 'b', 1, 1, 1000), (30, 'b', 0, 1, 2000), (59, 'c', 0, 1, 3000), (59, 'd', 0, 2, 5000), (125, 'e', 0, NULL, 7), (180, 'f', 0, 1, 9)) t(s, id, r, v, us)`)
	q := window.TrafficQuestion{Begin: begin, End: begin.Add(3 * time.Minute), Step: time.Minute}
	got, err := window.CountTraffic(t.Context(), db, []string{log}, &q)
	if err != nil {
		t.Fatal(err)
	}
	want := []window.Traffic{
		{Begin: begin, Version: 1, Requests: 3, Rows: 4, P99: 3 * time.Millisecond},
		{Begin: begin, Version: 2, Requests: 1, Rows: 1, P99: 5 * time.Millisecond},
		{Begin: begin.Add(2 * time.Minute), Requests: 1, Rows: 1, P99: 7 * time.Microsecond},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := window.CountTraffic(t.Context(), db, nil, &q); err != nil || len(got) != 0 {
		t.Errorf("without files there is %v, %v", got, err)
	}
	q.Step = 0
	if _, err := window.CountTraffic(t.Context(), db, []string{log}, &q); err == nil {
		t.Error("an interval of no length was counted")
	}
}
