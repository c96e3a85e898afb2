package window_test

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// amounts is a metric over requests with outcomes that become known within five minutes.
func amounts(value string) *ir.Metric {
	return &ir.Metric{
		Value: value, Aggregate: measure.Mean,
		Columns: []ir.Logged{{Name: "shop", Log: "request.shop", Type: "string"}, {Name: "prediction", Log: "prediction", Type: "bool"}},
		Outcomes: &ir.Joined{
			Within: 5 * time.Minute, Timestamp: ir.Column{Name: "known", Type: "timestamp"},
			Labels: []ir.Column{{Name: "id", Type: "int32"}}, Join: []ir.Logged{{Name: "id", Log: "request.id", Type: "int32"}},
		},
		OutcomeColumns: []ir.Column{{Name: "amount", Type: "float64"}},
	}
}

// The value of a row is computed from the request, the response, and the first outcome from the time of the
// request on; a value that is not known is left out.
func TestMetricsOfAWindow(t *testing.T) {
	db, dir := open(t), t.TempDir()
	// Requests 0 to 9 of two shops, of which the even ones are predicted true.
	log := write(t, db, filepath.Join(dir, "log.parquet"), `SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' + to_seconds(i) AS "time", 'r' || i AS request_id, 0::INTEGER AS "row",
i::INTEGER AS "request.id", 's' || i % 2 AS "request.shop", i % 2 = 0 AS prediction FROM range(10) t(i)`)
	// The outcome of i is 10 i; that of 1 was known before the request, that of 2 is too late, and 3 has two.
	outcomes := write(t, db, filepath.Join(dir, "outcomes.parquet"), `SELECT i::INTEGER AS id, TIMESTAMP '2026-01-31 12:00:00' + to_seconds(i) + to_seconds(CASE i WHEN 1 THEN -1 WHEN 2 THEN 301 ELSE 60 END) AS known, 10.0 * i::DOUBLE AS amount
FROM range(8) t(i) UNION ALL SELECT 3, TIMESTAMP '2026-01-31 12:04:00', 1000`)
	for _, c := range []struct {
		name   string
		metric func(m *ir.Metric)
		want   float64
	}{
		{"outcomes that count are those of 0 and 3 to 7", func(*ir.Metric) {}, 250. / 6},
		{"an unknown outcome may have a value", func(m *ir.Metric) { m.Value = "coalesce(outcomes.amount, 0) -- of all" }, 25},
		{"a sum", func(m *ir.Metric) { m.Aggregate = measure.Sum }, 250},
		{"a bool is 0 or 1", func(m *ir.Metric) { m.Value = "amount > 45" }, 3. / 6},
		{"only requests of a shop", func(m *ir.Metric) { m.Where = "shop = 's1'" }, 150. / 3},
		{"a condition is about requests where outcomes have the column, too", func(m *ir.Metric) {
			m.Where, m.Columns = "id >= 5", append(m.Columns, ir.Logged{Name: "id", Log: "request.id", Type: "int32"})
			m.OutcomeColumns = append(m.OutcomeColumns, ir.Column{Name: "id", Type: "int32"})
		}, 60},
		{"a ratio of rows with both values", func(m *ir.Metric) {
			m.Aggregate, m.Value, m.Per = measure.Ratio, "CASE WHEN responses.prediction THEN amount END", "10 * requests.shop[2]::INTEGER + 1"
		}, 100. / 3},
	} {
		m := amounts("outcomes.amount")
		c.metric(m)
		q := window.Question{
			Monitor: ir.Monitor{MinRows: 3, Metric: m, By: []ir.Logged{{Name: "shop", Log: "request.shop", Type: "string"}}},
			Begin:   begin, End: begin.Add(time.Minute), Now: begin.Add(time.Hour), Labels: outcomes,
		}
		a, err := window.Run(t.Context(), db, []string{log}, &q)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := figure(a.Report, "", m.Aggregate); got == nil || math.Abs(*got-c.want) > 1e-12 || a.Verdict != measure.OK {
			t.Errorf("%s: %v, %s %s, want %g", c.name, got, a.Verdict, a.Reason, c.want)
		}
		if known := figure(a.Report, "", measure.FigureOutcomes); m.Where == "" && (known == nil || *known != 0.6) {
			t.Errorf("%s: the share of outcomes is %v", c.name, known)
		}
	}
	// Limits, and what is not known.
	m := amounts("outcomes.amount")
	low := 50.0
	m.Min = &low
	q := window.Question{Monitor: ir.Monitor{MinRows: 3, Metric: m}, Begin: begin, End: begin.Add(time.Minute), Now: begin.Add(time.Hour), Labels: outcomes}
	if a, err := window.Run(t.Context(), db, []string{log}, &q); err != nil || a.Verdict != measure.Alert || a.Reason != "mean 41.67 < 50" {
		t.Errorf("%+v, %v", a, err)
	}
	q.Monitor.MinRows = 7
	if a, err := window.Run(t.Context(), db, []string{log}, &q); err != nil || a.Verdict != measure.Unknown || a.Reason != "6 rows with a value, wanted at least 7" {
		t.Errorf("%+v, %v", a, err)
	}
	m.Value, q.Monitor.MinRows = "CASE WHEN shop = 's1' THEN amount ELSE 'inf'::DOUBLE END", 3
	if a, err := window.Run(t.Context(), db, []string{log}, &q); err != nil || a.Verdict != measure.Unknown || a.Reason != "mean is not known: 5 values are NaN or infinite" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := window.Run(t.Context(), db, nil, &q); err != nil || a.Verdict != measure.Unknown || a.Rows != 0 {
		t.Errorf("without files there is %+v, %v", a, err)
	}
}

// Of an experiment, customers count and not their requests, once they have been observed to their end.
func TestExperimentOfAStep(t *testing.T) {
	db, dir := open(t), t.TempDir()
	// 4000 customers ask once a second, then all of them again: those of the challenger, every other one, are worth a bit less.
	rows := `SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' + to_seconds(k + 4000 * n) AS "time", 'r' || k || '-' || n AS request_id, 0::INTEGER AS "row",
'k' || k AS "request.customer", CASE WHEN (k * 7919 %% 1000) < %d THEN 'sha256:b' ELSE 'sha256:a' END AS digest,
(hash(k) %% 1000)::DOUBLE / 1000 + n - CASE WHEN (k * 7919 %% 1000) < %[1]d THEN 0.2 ELSE 0 END AS "request.worth" FROM range(4000) t(k), range(2) u(n)`
	log := func(share int) string {
		return write(t, db, filepath.Join(dir, fmt.Sprintf("log-%d.parquet", share)), fmt.Sprintf(rows, share))
	}
	half, few := log(500), log(400)
	customer := ir.Logged{Name: "customer", Log: "request.customer", Type: "string"}
	experiment := func() *ir.Experiment {
		return &ir.Experiment{
			Metric: &ir.Metric{Value: "worth", Aggregate: measure.Mean, Columns: []ir.Logged{{Name: "worth", Log: "request.worth", Type: "float64"}}},
			Unit:   &customer, Observe: time.Second, Horizon: 24 * time.Hour, Alpha: 0.1, Power: 0.8, MinEffect: 0.1, MinUnits: 100, Expected: 4000, Steps: []int{10, 50},
		}
	}
	for _, c := range []struct {
		name, log string
		change    func(x *ir.Experiment, q *window.Question)
		verdict   measure.Verdict
		reason    string
		units     float64 // of the challenger
	}{
		{"worse", half, nil, measure.Alert, "the challenger is worse: mean 0.3", 2000},
		{"better if less is", half, func(x *ir.Experiment, _ *window.Question) { x.Lower = true }, measure.OK, "the challenger is better: mean 0.3", 2000},
		{"observed for longer than all requests", half, func(x *ir.Experiment, _ *window.Question) { x.Observe = 4 * time.Hour }, measure.Unknown, "undecided: no unit has been observed to its end", 0},
		{"both requests of a customer count as one unit", half, func(x *ir.Experiment, q *window.Question) {
			x.Observe, q.End, x.Metric.Aggregate = 4000*time.Second, begin.Add(6000*time.Second-time.Microsecond), measure.Sum
		}, measure.Alert, "the challenger is worse: sum 1.", 1000},
		{"as good", half, func(x *ir.Experiment, _ *window.Question) {
			x.Metric.Value, x.Metric.Columns = "hash(customer) % 1000 / 1000", []ir.Logged{customer}
		}, measure.OK, "the challenger is as good: mean", 2000},
		{"other shares", few, nil, measure.Unknown, "sample ratio mismatch: the challenger has 40 % of the units instead of 50 %", 1600},
		{"few units", half, func(x *ir.Experiment, _ *window.Question) { x.MinUnits = 5000 }, measure.Unknown, "undecided: 2000 and 2000 units, wanted at least 5000 of each version", 2000},
		{"few units at the end", half, func(x *ir.Experiment, q *window.Question) { x.MinUnits, q.Versions.Over = 5000, true }, measure.OK, "undecided when the time was over: 2000 and", 2000},
		{"requests as units", half, func(x *ir.Experiment, _ *window.Question) { x.Unit, x.Observe = nil, 0 }, measure.Alert, "the challenger is worse: mean 0.8", 4000},
		{"both versions for one customer", half, func(x *ir.Experiment, _ *window.Question) {
			x.Unit = &ir.Logged{Name: "row", Log: "row", Type: "int32"}
		}, measure.Unknown, "100 % of the units were answered by both versions", 0},
	} {
		x := experiment()
		q := window.Question{
			Monitor: ir.Monitor{Experiment: x}, Begin: begin, End: begin.Add(3 * time.Hour), Now: begin.Add(3 * time.Hour),
			Versions: &window.Versions{Champion: "sha256:a", Challenger: "sha256:b", Share: 0.5},
		}
		if c.change != nil {
			c.change(x, &q)
		}
		a, err := window.Run(t.Context(), db, []string{c.log}, &q)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if a.Verdict != c.verdict || !strings.HasPrefix(a.Reason, c.reason) {
			t.Errorf("%s: %s %s, want %s %s", c.name, a.Verdict, a.Reason, c.verdict, c.reason)
		}
		if n := figure(a.Report, "", measure.FigureUnits); n == nil || *n != c.units {
			t.Errorf("%s: the units are %+v, want %g of the challenger", c.name, a.Figures, c.units)
		}
	}
	// A plan takes all requests as the champion's.
	q := window.Question{Monitor: ir.Monitor{Experiment: experiment()}, Begin: begin.Add(-24 * time.Hour), End: begin.Add(8000 * time.Second), Now: begin.Add(3 * time.Hour)}
	a, err := window.Run(t.Context(), db, []string{half}, &q)
	if err != nil || a.Plan == nil || len(a.Plan.Steps) != 2 || a.Plan.Units < 3990 {
		t.Fatalf("%+v, %v", a, err)
	}
	if s := a.Plan.Steps[1]; s.Time == nil || s.Half == nil || s.Fixed == nil || s.Effect == nil || *s.Half > *s.Time || *s.Fixed > *s.Effect {
		t.Errorf("%+v", s)
	}
}
