package window_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// Only predictions count, in a step only those of its version, and a line that a crash cut off does not.
func TestServiceFromItsAuditLog(t *testing.T) {
	db, path := open(t), filepath.Join(t.TempDir(), "audit-1.jsonl")
	end := begin.Add(2 * time.Hour)
	var lines strings.Builder
	add := func(n int, at time.Time, status int, ms float64, path, version string) {
		for i := range n {
			fmt.Fprintf(&lines, `{"time":%q,"status":%d,"ms":%g,"id":"x","method":"POST","path":%q,"version":%q,"rows":1}`+"\n",
				at.Add(time.Duration(i)*time.Millisecond).Format(requests.AuditTime), status, ms, path, version)
		}
	}
	add(100, begin.Add(-time.Hour), 500, 1, "/predict", "late v1") // before it answered
	add(1000, begin.Add(10*time.Minute), 200, 1, "/predict", "late v1")
	add(10, begin.Add(110*time.Minute), 200, 80, "/v2/models/late/infer", "late v2")
	add(190, begin.Add(110*time.Minute), 200, 2, "/predict", "late v2")
	add(2, begin.Add(111*time.Minute), 503, 2, "/predict", "late v2")
	add(3, begin.Add(111*time.Minute), 429, 0.1, "/predict", "late v2")
	add(50, begin.Add(111*time.Minute), 500, 2, "/metrics", "late v2")
	add(50, end, 500, 2, "/predict", "late v2") // after the end
	lines.WriteString(`{"time":"2026-01-31T13:59:59.0000`)
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(version string, from time.Time) *window.Answer {
		a, err := window.Run(t.Context(), db, []string{path}, &window.Question{
			Monitor: ir.Monitor{MinRows: 100, Window: 30 * 24 * time.Hour, Service: &ir.ServiceLevel{Objectives: []ir.Objective{
				{Name: "availability", Target: 0.999}, {Name: "latency p99", Target: 0.99, Slower: 50 * time.Millisecond}, {Name: "saturation", Target: 0.99, Refused: true},
			}}},
			Begin: from, End: end, Now: end, Version: version,
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	check := func(a *window.Answer, column, name string, want float64) {
		t.Helper()
		if got := figure(a.Report, column, name); got == nil || *got-want > 1e-9 || want-*got > 1e-9 {
			t.Errorf("%s %s is %v, want %v", column, name, got, want)
		}
	}
	step := ask("late v2", begin.Add(100*time.Minute))
	if step.Rows != 205 || step.Verdict != measure.Alert || !strings.HasPrefix(step.Reason, "latency p99: burn_rate 4.878 > 1") {
		t.Errorf("of %d requests: %s: %s", step.Rows, step.Verdict, step.Reason)
	}
	check(step, "availability", measure.FigureBad, 2.0/205)
	check(step, "latency p99", measure.FigureBad, 10.0/205)
	check(step, "saturation", measure.FigureBad, 3.0/205)
	check(step, "", measure.FigureErrors, 2.0/205)
	check(step, "", measure.FigureP50, 2)
	check(step, "", measure.FigureP99, 80)
	check(step, "availability", measure.FigureBudgetLeft, 1-102.0/1305/0.001)
	all := ask("", begin)
	if all.Rows != 1205 || all.Verdict != measure.OK {
		t.Errorf("of %d requests: %s: %s", all.Rows, all.Verdict, all.Reason)
	}
	check(all, "availability", measure.FigureBurn+"_1h", 2.0/205/0.001)
	if figure(all.Report, "availability", measure.FigureBurn+"_6h") != nil {
		t.Error("a version that answers for two hours has no rate of six")
	}
}

func TestAgeOfATable(t *testing.T) {
	db := open(t)
	table := write(t, db, filepath.Join(t.TempDir(), "t.parquet"), `SELECT TIMESTAMP '2026-01-31 12:00:00' + to_hours(i) AS at FROM range(5) t(i)`)
	for hours, want := range map[int]string{
		3: "ok: the newest at is of 2026-01-31 15:00:00 UTC: age 0s <= 6h", // the last row is of the future
		9: "ok: the newest at is of 2026-01-31 16:00:00 UTC: age 5h <= 6h", 11: "alert: the newest at is of 2026-01-31 16:00:00 UTC: age 7h > 6h",
		-1: "unknown: age_seconds is not known: there are no rows with a time",
	} {
		now := begin.Add(time.Duration(hours) * time.Hour)
		a, err := window.Run(t.Context(), db, nil, &window.Question{
			Monitor: ir.Monitor{Freshness: &ir.Freshness{Table: "sources/t", Column: &ir.Column{Name: "at", Type: "timestamp"}, Max: 6 * time.Hour}}, Now: now, End: now, Reference: table,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(a.Verdict) + ": " + a.Reason; got != want || a.Rows != 5 {
			t.Errorf("after %d hours: %s, of %d rows, want %s", hours, got, a.Rows, want)
		}
	}
}
