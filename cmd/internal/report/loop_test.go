package report_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/internal/report"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// noon is when the loop of these tests is deployed.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func after(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

// aMonitor has a measurement every minute: alerts in the second half, and no value in the first one.
func aMonitor(unit string, n int) project.MonitorHistory {
	h := project.MonitorHistory{Unit: unit, Monitor: &ir.Monitor{Deployment: "deployments/api", Every: time.Minute, Window: time.Hour}}
	for i := range n {
		verdict, value := "ok", fmt.Sprintf("%.2f", 0.05+float64(i%3)/100)
		switch {
		case i == 0:
			verdict, value = "unknown", "null"
		case i > n/2:
			verdict, value = "alert", "0.31"
		}
		m := state.Measurement{Monitor: unit, Number: int64(i + 1), At: after(i + 1), Verdict: verdict, Reason: attack}
		m.Report = json.RawMessage(fmt.Sprintf(`{"rows": 500, "verdict": %q, "figures": [
			{"column": %q, "name": "drift", "test": "ks", "value": %s, "max": 0.1, "verdict": %[1]q},
			{"column": "wind", "name": "nulls", "value": 0, "verdict": "ok"},
			{"column": %[2]q, "name": "drift", "test": "ks", "value": 0.9, "max": 0.1, "verdict": "alert", "segment": {"origin": "JFK"}}]}`, verdict, attack, value))
		h.Measurements = append([]state.Measurement{m}, h.Measurements...)
	}
	return h
}

// aLoop has trained a version, released it, and taken it back.
func aLoop(measurements int) *project.LoopReport {
	first, second := project.VersionShare{Name: "late v1", Key: "a", Revision: 1}, project.VersionShare{Name: "late v2", Key: "b", Revision: 2}
	of := func(v project.VersionShare, weight int) project.VersionShare {
		v.Weight = weight
		return v
	}
	return &project.LoopReport{
		Version: 1, System: attack, From: noon, To: after(60), Currency: "USD",
		Loop: project.Loop{
			Unit: "loops/late", Loop: &ir.Loop{Model: "models/late", Deployments: []string{"deployments/api"}},
			Next: planner.LoopDecision{Reason: "nothing calls for a training"},
		},
		Acts: []state.LoopAct{
			{Number: 5, At: after(50), Act: state.LoopTrigger, By: "ann", Reason: attack},
			{Number: 4, At: after(41), Act: state.LoopRolledBack, Of: 3, Revision: 5, Reason: "revision 5"},
			{Number: 3, At: after(40), Act: state.LoopRollback, Reason: "roc_auc 0.5 < 0.6"},
			{Number: 2, At: after(25), Act: state.LoopRetrained, Of: 1, Revision: 2, Reason: "revision 2", Detail: json.RawMessage(`{"cost": 250000000}`)},
			{Number: 1, At: after(20), Act: state.LoopRetrain, Reason: "temp: ks 0.31 > 0.1", Detail: json.RawMessage(`{"cost": 900000000}`)},
		},
		Monitors: []project.MonitorHistory{aMonitor("monitors/inputs", measurements)},
		Revisions: []project.ReportedRevision{
			{Number: 5, Act: state.Rollback, Started: after(40), Finished: after(41), Outcome: state.Done, Cause: &planner.Cause{Act: "rollback", Reason: "roc_auc 0.5 < 0.6"}},
			{Number: 2, Act: state.Apply, Started: after(20), Finished: after(25), Outcome: state.Done, Cause: &planner.Cause{Act: "retrain", Reason: "temp: ks 0.31 > 0.1"}, Metrics: map[string]float64{"roc_auc": 0.7}},
			{Number: 1, Act: state.Apply, Started: noon, Outcome: state.Done, Reasons: []planner.Reason{{What: attack}}},
		},
		Services: []project.LoopService{{
			Unit: "deployments/api", Step: time.Minute,
			Shares: []project.Share{
				{From: noon, Revision: 1, Versions: []project.VersionShare{of(first, 100)}},
				{From: after(25), Revision: 2, Versions: []project.VersionShare{of(first, 90), of(second, 10)}},
				{From: after(30), Revision: 3, Versions: []project.VersionShare{of(first, 0), of(second, 100)}},
				{From: after(41), Revision: 5, Versions: []project.VersionShare{of(first, 100), of(second, 0)}},
			},
			Traffic: []window.Traffic{
				{Begin: after(20), Version: 1, Requests: 100, Rows: 120, P99: 3 * time.Millisecond},
				{Begin: after(26), Version: 1, Requests: 90, Rows: 90, P99: 4 * time.Millisecond},
				{Begin: after(26), Version: 2, Requests: 10, Rows: 10, P99: 9 * time.Millisecond},
				{Begin: after(45), Version: 7, Requests: 1, Rows: 1},
			},
		}},
	}
}

func loopPage(t *testing.T, r *project.LoopReport) string {
	t.Helper()
	html, err := report.LoopPage(r)
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, string(html))
	if strings.Contains(string(html), "<script") || !strings.HasPrefix(string(html), report.Beginning) {
		t.Error("a name is markup, or the page does not begin as pages do")
	}
	return string(html)
}

func TestThePageOfALoop(t *testing.T) {
	html := loopPage(t, aLoop(40))
	has(t, html, `...
<title>loops/late</title>
...
<tr><td class="label">model</td><td>models/late</td></tr>
<tr><td class="label">serves in</td><td>deployments/api</td></tr>
<tr><td class="label">from</td><td>2026-03-01 12:00:00 UTC</td></tr>
<tr><td class="label">to</td><td>2026-03-01 13:00:00 UTC</td></tr>
<tr><td class="label">now</td><td>waits: nothing calls for a training</td></tr>
<tr><td class="label">trained</td><td>once</td></tr>
<tr><td class="label">rolled back</td><td>once</td></tr>
<tr><td class="label">cost of trainings</td><td>0.25 USD</td></tr>
<tr><td class="label">answered</td><td>201 requests with 221 rows</td></tr>
...
<h2>Over time</h2>
...
<figcaption>What happened</figcaption>
...
<figcaption>Verdicts of monitors</figcaption>
...
<figcaption>Versions, deployments/api</figcaption>
...
<p class="hint"><span class="key s0"></span>late v1: deployed by revision 1</p>
<p class="hint"><span class="key s1"></span>late v2: deployed by revision 2</p>
...
<figcaption>Requests, every 1m0s, deployments/api</figcaption>
...
<p class="hint">from the request log, which has no requests that failed; the highest p99 of an interval is 9ms</p>
...
<figcaption>inputs: &lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; ks</figcaption>
...
<p class="hint">alert: 0.31, at most 0.1</p>
...
<figcaption>Cost of trainings</figcaption>
...
<h2>Record</h2>
...
<tr><td>4</td><td>2026-03-01 12:41:00 UTC</td><td>rolled back</td><td></td><td>@5</td><td>revision 5</td></tr>
<tr><td>3</td><td>2026-03-01 12:40:00 UTC</td><td>rollback</td><td></td><td></td><td>roc_auc 0.5 &lt; 0.6</td></tr>
...
<tr><td>@2</td><td>2026-03-01 12:20:00 UTC</td><td>5m0s</td><td>apply</td><td>done</td><td>retrain: temp: ks 0.31 &gt; 0.1</td><td title="roc_auc 0.7">roc_auc 0.7</td></tr>
...
`)
	// Each moment is at the same place in all plots: the training ended at 25 of 60 minutes.
	if got, want := strings.Count(html, `<line class="event ok" x1="513" y1="12" x2="513"`), 6; got != want {
		t.Errorf("%d plots show the end of the training at its place, not %d", got, want)
	}
	for what, want := range map[string]int{
		`<rect class="ok" x="434" y="15.6" width="79"`: 1, // the training
		`<rect class="alert" x="750" y="63.6"`:         1, // the rollback
		`: late v2 answers 10 %, revision 2`:           2, // in the lane of releases, and among the versions
		`>10 %</text>`:                                 1,
		`answers 0 %`:                                  0, // after it was taken back
		`version 7 of the model answered 1 requests`:   1,
		`<polyline class="guess"`:                      1, // the limit
		`wind`:                                         0, // it has no limit
		`JFK`:                                          0,
	} {
		if got := strings.Count(html, what); got != want {
			t.Errorf("%s is there %d times, not %d", what, got, want)
		}
	}
}

// A rollback that failed is not a training that failed.
func TestThePageOfALoopWithAFailedRollback(t *testing.T) {
	r := aLoop(1)
	r.Acts[1].Act = state.LoopFailed
	if r.Acts[1].Of != r.Acts[2].Number || r.Acts[2].Act != state.LoopRollback {
		t.Fatalf("%+v does not end a rollback", r.Acts[1])
	}
	has(t, loopPage(t, r), `...
<tr><td class="label">trained</td><td>once</td></tr>
<tr><td class="label">rolled back</td><td>never</td></tr>
...
`)
}

// A loop that was just deployed has nothing to show, and one of months has very much.
func TestThePageOfALoopWithLittleAndMuch(t *testing.T) {
	empty := loopPage(t, &project.LoopReport{
		From: noon, To: noon, Loop: project.Loop{Unit: "loops/late", Loop: &ir.Loop{Model: "models/late"}},
		Services: []project.LoopService{{Unit: "deployments/api", Unknown: "it does not log its requests: add log: {}"}},
		Monitors: []project.MonitorHistory{aMonitor("monitors/inputs", 0), aMonitor("monitors/truth", 1)},
	})
	has(t, empty, `...
<p class="reason">Not shown: no revision deployed it</p>
...
<p class="reason">Not shown: it does not log its requests: add log: {}</p>
...
<p class="reason">Not shown: it has no value</p>
...
<p class="reason">Not shown: no pool has a price</p>
...
<p class="hint">The loop has done nothing.</p>
...
`)
	much := aLoop(500)
	much.To = after(40000)
	html := loopPage(t, much)
	if len(html) > 1<<20 {
		t.Errorf("the page has %d bytes", len(html))
	}
	if !strings.Contains(html, ">2026-03-0") {
		t.Error("the axis of a month has no dates")
	}
}

// A page of one report is always the same.
func TestThePageOfALoopIsTheSameBytes(t *testing.T) {
	first := loopPage(t, aLoop(30))
	for range 5 {
		if loopPage(t, aLoop(30)) != first {
			t.Fatal("two pages of one report differ")
		}
	}
}
