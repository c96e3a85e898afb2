package window_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// answers are a class and the probability of true, which the reference has under another name.
func answers(d ir.Drift) ir.Monitor {
	d.Answers, d.Alpha = true, 0.05
	d.Columns = []ir.Compared{
		{Logged: ir.Logged{Name: "prediction", Log: "prediction", Type: "string"}},
		{Logged: ir.Logged{Name: "probability", Log: "probability.true", Type: "float64"}, Of: "probability_true"},
	}
	if d.Previous {
		d.Columns[1].Of = ""
	}
	return ir.Monitor{MinRows: 10, Window: time.Minute, Drift: &d}
}

func minute(m ir.Monitor) *window.Question {
	return &window.Question{Monitor: m, Begin: begin, End: begin.Add(time.Minute), Now: begin.Add(time.Minute)}
}

// answered writes a log: of each second from a minute before the window on, one row of the model a. A condition
// chooses the rows that b has answered instead, with other predictions.
func answered(t *testing.T, db *sql.DB, byB string) string {
	return write(t, db, filepath.Join(t.TempDir(), "log.parquet"), fmt.Sprintf(`SELECT TIMESTAMPTZ '2026-01-31 11:59:00+00' + to_seconds(i) AS "time",
if(b, 'b', 'a') AS digest, if(b, 2, 1)::INTEGER AS version, b OR i %% 2 = 0 AS prediction, if(b, 0.9, (i %% 10) / 10)::DOUBLE AS "probability.true",
if(i %% 4 = 0, 'lookup weather', NULL) AS fallback FROM (SELECT i, %s AS b FROM range(120) t(i))`, byB))
}

// What is compared is what the model answered whose predictions are the reference.
func TestAnswersAreThoseOfOneModel(t *testing.T) {
	db := open(t)
	log := answered(t, db, "i >= 100")
	q := minute(answers(ir.Drift{}))
	q.Model = "a"
	q.Reference = write(t, db, filepath.Join(t.TempDir(), "reference.parquet"), "SELECT i % 2 = 0 AS prediction, ((i % 10) / 10)::DOUBLE AS probability_true FROM range(200) t(i)")
	a, err := window.Run(t.Context(), db, []string{log}, q)
	if err != nil {
		t.Fatal(err)
	}
	if a.Verdict != measure.OK || a.Rows != 40 || a.ReferenceRows != 200 {
		t.Errorf("%s: %s, of %d and %d rows, want ok of 40 and 200", a.Verdict, a.Reason, a.Rows, a.ReferenceRows)
	}
	if got := strings.Join(a.Notes, "; "); got != "20 rows that other versions answered are left out" {
		t.Errorf("notes are %q", got)
	}
	if share := figure(a.Report, "", measure.FigureFallbacks); share == nil || *share != 0.25 {
		t.Errorf("the share of fallbacks is %v, want a quarter", share)
	}
	q.Model = "b"
	if a, err = window.Run(t.Context(), db, []string{log}, q); err != nil || a.Verdict != measure.Alert {
		t.Errorf("another model is %v, %v, want an alert", a, err)
	}
	q.Model = "c"
	if a, err = window.Run(t.Context(), db, []string{log}, q); err != nil || a.Verdict != measure.Unknown || a.Reason != "the window has no rows" {
		t.Errorf("a model that answered nothing is %v, %v", a, err)
	}
}

// The window before has all versions, and each of them is a segment of both windows.
func TestAnswersOfTheWindowBefore(t *testing.T) {
	db := open(t)
	for _, c := range []struct {
		byB     string
		verdict measure.Verdict
		b       measure.Verdict
		reason  string
	}{
		{"false", measure.OK, "", ""},
		{"i % 3 = 0", measure.OK, measure.OK, ""},
		{"i >= 60", measure.Alert, measure.Unknown, "the reference has no rows"},
	} {
		m := answers(ir.Drift{Previous: true})
		m.By = []ir.Logged{{Name: "version", Log: "version", Type: "int32"}}
		a, err := window.Run(t.Context(), db, []string{answered(t, db, c.byB)}, minute(m))
		if err != nil {
			t.Fatal(err)
		}
		if a.Verdict != c.verdict || a.Rows != 60 || a.ReferenceRows != 60 || len(a.Notes) != 0 {
			t.Errorf("%s: %s, of %d and %d rows, notes %q, want %s of 60 and 60", c.byB, a.Verdict, a.Rows, a.ReferenceRows, a.Notes, c.verdict)
		}
		var b measure.Segment
		for _, s := range a.Segments {
			if s.Values["version"] == "2" {
				b = s
			}
		}
		if b.Verdict != c.b || b.Reason != c.reason {
			t.Errorf("%s: the segment of b is %q: %q, want %q: %q", c.byB, b.Verdict, b.Reason, c.b, c.reason)
		}
	}
}

// The log says which window it does not have.
func TestTheWindowBeforeMayBeGone(t *testing.T) {
	db := open(t)
	log := write(t, db, filepath.Join(t.TempDir(), "log.parquet"), fmt.Sprintf("SELECT * FROM read_parquet('%s') WHERE \"time\" >= TIMESTAMPTZ '2026-01-31 11:59:30+00'", answered(t, db, "false")))
	a, err := window.Run(t.Context(), db, []string{log}, minute(answers(ir.Drift{Previous: true})))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(a.Notes, "; "); got != "the log begins at 2026-01-31T11:59:30Z, after the beginning of the window before" {
		t.Errorf("notes are %q", got)
	}
}

// A limit of fallbacks is judged, and not known where no answer says whether it was one.
func TestALimitOfFallbacks(t *testing.T) {
	db := open(t)
	log := answered(t, db, "false")
	silent := write(t, db, filepath.Join(t.TempDir(), "silent.parquet"), fmt.Sprintf("SELECT * EXCLUDE (fallback) FROM read_parquet('%s')", log))
	for _, c := range []struct {
		max    float64
		log    string
		want   measure.Verdict
		reason string
	}{
		{0.3, log, measure.OK, ""},
		{0.2, log, measure.Alert, "fallbacks 0.25 > 0.2"},
		{0.2, silent, measure.OK, "fallbacks is not known: no answer says whether it was one"},
	} {
		a, err := window.Run(t.Context(), db, []string{c.log}, minute(answers(ir.Drift{Previous: true, MaxFallbacks: &c.max})))
		if err != nil {
			t.Fatal(err)
		}
		if a.Verdict != c.want || a.Reason != c.reason {
			t.Errorf("at most %v: %s, %q, want %s, %q", c.max, a.Verdict, a.Reason, c.want, c.reason)
		}
	}
}

// Some classifiers have no probabilities: the rest is compared.
func TestAnswersWithoutProbabilities(t *testing.T) {
	db := open(t)
	log := write(t, db, filepath.Join(t.TempDir(), "log.parquet"), fmt.Sprintf(`SELECT * EXCLUDE ("probability.true") FROM read_parquet('%s')`, answered(t, db, "false")))
	m := answers(ir.Drift{Previous: true})
	a, err := window.Run(t.Context(), db, []string{log}, minute(m))
	if err != nil || a.Verdict != measure.OK || strings.Join(a.Notes, "; ") != "probability is not compared: no answer has one" {
		t.Errorf("the answer is %+v, %v", a, err)
	}
	m.Drift.Columns = m.Drift.Columns[1:]
	if a, err = window.Run(t.Context(), db, []string{log}, minute(m)); err != nil || a.Verdict != measure.Unknown || a.Reason != "no answer has what is compared" {
		t.Errorf("without a column the answer is %+v, %v", a, err)
	}
}

// Answers have the figures that scipy and Evidently have for the same values.
func TestDriftOfAnswersEqualsScipyAndEvidently(t *testing.T) {
	db := open(t)
	b, err := os.ReadFile("../measure/_reference/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Drift struct {
			Small struct{ Scipy, Evidently map[string]map[string]float64 }
		}
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	reference := write(t, db, filepath.Join(dir, "reference.parquet"), "SELECT city AS prediction, normal AS probability_true FROM read_parquet('../measure/_reference/small_reference.parquet')")
	log := write(t, db, filepath.Join(dir, "log.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' AS "time", 'a' AS digest, city AS prediction, normal AS "probability.true" FROM read_parquet('../measure/_reference/small_current.parquet')`)
	for column, tests := range map[string][]string{"prediction": {"psi", "jensenshannon", "chi_square"}, "probability": {"ks", "wasserstein", "wasserstein_norm", "psi", "jensenshannon"}} {
		for _, test := range tests {
			q := minute(answers(ir.Drift{}))
			q.Model, q.Reference = "a", reference
			of := map[string]string{"prediction": "city", "probability": "normal"}[column]
			for i := range q.Monitor.Drift.Columns {
				if q.Monitor.Drift.Columns[i].Name == column {
					q.Monitor.Drift.Columns[i].Test = test
				}
			}
			a, err := window.Run(t.Context(), db, []string{log}, q)
			if err != nil {
				t.Fatal(err)
			}
			want, ok := r.Drift.Small.Scipy[of][test]
			if !ok {
				want, ok = r.Drift.Small.Evidently[of][test]
			}
			if got := figure(a.Report, column, measure.FigureDrift); !ok || got == nil || math.Abs(*got-want) > 1e-9*math.Abs(want) {
				t.Errorf("%s of %s is %v, want %v", test, column, got, want)
			}
		}
	}
}

// What a cache keeps changes no answer: neither while a release has two versions in one file, nor if one cache serves
// monitors of different models, columns and references.
func TestACacheOfAnswersChangesNothing(t *testing.T) {
	db, dir := open(t), t.TempDir()
	reference := write(t, db, filepath.Join(dir, "reference.parquet"), "SELECT i % 3 = 0 AS prediction, ((i % 10) / 10)::DOUBLE AS probability_true FROM range(50) t(i)")
	limit := 0.5
	held, before := answers(ir.Drift{MaxFallbacks: &limit}), answers(ir.Drift{Previous: true})
	divided := before
	divided.By = []ir.Logged{{Name: "version", Log: "version", Type: "int32"}}
	kept := &window.Cache{Samples: measure.NewCache(1 << 20)}
	var files []string
	for n := range 11 {
		byB := "i % 4 = 1" // of a challenger
		switch {
		case n < 3:
			byB = "false"
		case n > 8:
			byB = "true"
		}
		rows := fmt.Sprintf(`SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' + to_seconds(20 * %d + i) AS "time", CASE WHEN i = 7 THEN NULL WHEN b THEN 'b' ELSE 'a' END AS digest,
if(b, 2, 1)::INTEGER AS version, (b OR i %% 3 = 0) AS prediction, if(b, 0.9, (i * %[1]d %% 10) / 10)::DOUBLE AS "probability.true",
if(i %% 5 = 0, 'version', NULL) AS fallback FROM (SELECT i, %[2]s AS b FROM range(20) t(i))`, n, byB)
		switch n {
		case 6: // of a version without probabilities
			rows = fmt.Sprintf(`SELECT * EXCLUDE ("probability.true") FROM (%s)`, rows)
		case 7: // of one that spells its classes differently
			rows = fmt.Sprintf("SELECT * REPLACE (CAST(prediction AS INTEGER) AS prediction) FROM (%s)", rows)
		}
		files = append(files, write(t, db, filepath.Join(dir, fmt.Sprintf("%02d.parquet", n)), rows))
		end := begin.Add(time.Duration(n)*20*time.Second + 13*time.Second)
		for name, q := range map[string]window.Question{
			"a": {Monitor: held, Model: "a", Reference: reference}, "b": {Monitor: held, Model: "b", Reference: reference},
			"all": {Monitor: held, Reference: reference, Challenger: "b"}, "before": {Monitor: before}, "versions": {Monitor: divided},
		} {
			q.Monitor.MinRows, q.Begin, q.End, q.Now = 1, end.Add(-time.Minute), end, end
			want, err := window.Run(t.Context(), db, files, &q)
			if err != nil {
				t.Fatal(err)
			}
			got, err := kept.Run(t.Context(), db, files, &q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s, file %d: %s", name, n, diff)
			}
			if n == 5 && want.Rows != map[string]int64{"a": 44, "b": 13, "all": 60, "before": 60, "versions": 60}[name] {
				t.Errorf("%s has %d rows", name, want.Rows)
			}
			if n == 5 && name == "all" && (want.Challenger == nil || *want.Challenger != 13) {
				t.Errorf("the challenger answered %v rows, want 13", want.Challenger)
			}
		}
	}
}

// What a cache has of a file is not read again, and only for the same model.
func TestKeptAnswersAreNotRead(t *testing.T) {
	db := open(t)
	log := answered(t, db, "i % 3 = 0")
	m := answers(ir.Drift{Previous: true})
	m.Window = 2 * time.Minute
	q := minute(m)
	q.Begin, q.Model = begin.Add(-time.Minute), "a"
	kept := &window.Cache{Samples: measure.NewCache(1 << 20)}
	want, err := kept.Run(t.Context(), db, []string{log}, q)
	if err != nil || want.Rows != 80 {
		t.Fatalf("%+v, %v", want, err)
	}
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, make([]byte, info.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(log, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	got, err := kept.Run(t.Context(), db, []string{log}, q)
	if err != nil {
		t.Fatalf("the file was read again: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	q.Model = "b"
	if a, err := kept.Run(t.Context(), db, []string{log}, q); err == nil {
		t.Errorf("what another model answered is known: %+v", a)
	}
}
