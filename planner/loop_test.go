package planner_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

var loopStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// hours is a time in hours after the loop was deployed.
func hours(h float64) time.Time { return loopStart.Add(time.Duration(h * float64(time.Hour))) }

// inOrder makes acts, oldest first, into a record.
func inOrder(acts ...state.LoopAct) (all []state.LoopAct) {
	for i, a := range acts {
		a.Number = int64(i + 1)
		all = append([]state.LoopAct{a}, all...)
	}
	return all
}

func loopAct(h float64, act state.LoopActKind, change ...func(*state.LoopAct)) state.LoopAct {
	a := state.LoopAct{At: hours(h), Act: act}
	for _, f := range change {
		f(&a)
	}
	return a
}

func of(n int64) func(*state.LoopAct)       { return func(a *state.LoopAct) { a.Of = n } }
func by(name string) func(*state.LoopAct)   { return func(a *state.LoopAct) { a.By = name } }
func inRevision(n int) func(*state.LoopAct) { return func(a *state.LoopAct) { a.Revision = n } }
func because(cause, reason string) func(*state.LoopAct) {
	return func(a *state.LoopAct) { a.Cause, a.Reason = cause, reason }
}

func costing(d planner.LoopDetail) func(*state.LoopAct) {
	return func(a *state.LoopAct) { a.Detail, _ = json.Marshal(d) }
}

const (
	inputs = "monitors/inputs"
	truth  = "monitors/truth"
	dollar = money.One
)

// measured is an alert, unless its reason is empty, about a window of an hour before h.
func measured(monitor string, h float64, reason string) map[string][]state.Measurement {
	verdict := "alert"
	if reason == "" {
		verdict = "ok"
	}
	return map[string][]state.Measurement{monitor: {{Monitor: monitor, Begin: hours(h - 1), End: hours(h), At: hours(h), Verdict: verdict, Reason: reason}}}
}

// unknown is a measurement without a verdict.
func unknown(monitor string, h float64) map[string][]state.Measurement {
	all := measured(monitor, h, "")
	all[monitor][0].Verdict = "unknown"
	return all
}

func lateLoop(change ...func(*ir.Loop)) ir.Loop {
	twenty := 20 * dollar
	l := ir.Loop{
		Model: "models/late", Deployments: []string{"deployments/api"},
		When: []ir.LoopTrigger{
			{Schedule: "0 3 * * *", Zone: "UTC"}, {Monitor: inputs}, {Data: "sources/flights", Rows: 10000},
		},
		CatchUp: ir.CatchUpOnce, CoolDown: 12 * time.Hour,
		AtMost: &ir.LoopLimit{Runs: 2, Per: 7 * 24 * time.Hour, Cost: &twenty, Currency: "USD"},
		Judge:  []string{truth}, Rollback: []string{truth},
	}
	for _, f := range change {
		f(&l)
	}
	return l
}

func TestDecideLoop(t *testing.T) {
	trained := func(h float64, revision int) []state.LoopAct {
		return []state.LoopAct{loopAct(h, state.LoopRetrain), loopAct(h+0.5, state.LoopRetrained, of(1), inRevision(revision))}
	}
	failing := func(n int) (acts []state.LoopAct) {
		for i := range n {
			acts = append(acts, loopAct(float64(3+i), state.LoopRetrain, because("schedule", "")), loopAct(float64(3+i), state.LoopFailed, of(int64(2*i+1)), because("", "out of memory")))
		}
		return acts
	}
	drifted := measured(inputs, 30, "temp ks 0.31 > 0.1")
	worse := measured(truth, 30, "roc_auc 0.58 < 0.65")
	for _, c := range []struct {
		name  string
		loop  func(*ir.Loop)
		state planner.LoopState
		now   float64 // hours
		act   state.LoopActKind
		want  string // part of the reason
		until float64
		step  bool
	}{
		{name: "before its schedule", now: 2, want: "nothing calls for a training; the schedule does at 2026-01-01 03:00 UTC", until: 3},
		{name: "its schedule fires", now: 3, act: state.LoopRetrain, want: `the schedule "0 3 * * *" fired once, last at 2026-01-01 03:00 UTC`},
		{name: "missed times are caught up once", now: 76, act: state.LoopRetrain, want: "fired 4 times, last at 2026-01-04 03:00 UTC"},
		{name: "missed times are passed over", loop: func(l *ir.Loop) { l.CatchUp = ir.CatchUpNone }, now: 76, act: state.LoopSkipped, want: "fired 4 times"},
		{name: "what was passed over is", loop: func(l *ir.Loop) { l.CatchUp = ir.CatchUpNone }, now: 76, want: "nothing calls for a training", until: 99,
			state: planner.LoopState{Acts: inOrder(loopAct(76, state.LoopSkipped, costing(planner.LoopDetail{Through: hours(75)})))}},
		{name: "a time that was held back is not missed", loop: func(l *ir.Loop) { l.CatchUp = ir.CatchUpNone; l.CoolDown = 0 }, now: 4, act: state.LoopRetrain, want: "fired once",
			state: planner.LoopState{Acts: inOrder(loopAct(3, state.LoopHold, because("schedule", "")))}},
		{name: "inputs drifted", now: 30, act: state.LoopRetrain, want: "temp ks 0.31 > 0.1", state: planner.LoopState{Acts: inOrder(trained(3, 7)...), Measurements: drifted}},
		{name: "inputs drifted before the last training", now: 31, want: "nothing calls",
			state: planner.LoopState{Acts: inOrder(trained(30.5, 7)...), Measurements: drifted}, until: 51},
		{name: "new rows", now: 2, act: state.LoopRetrain, want: "sources/flights has 12000 new rows >= 10000", state: planner.LoopState{Rows: map[string]int64{"sources/flights": 12000}}},
		{name: "few new rows", now: 2, want: "nothing calls", state: planner.LoopState{Rows: map[string]int64{"sources/flights": 9999}}, until: 3},
		{name: "rows that a version which was taken back has read", now: 20, want: "nothing calls", until: 27,
			state: planner.LoopState{Rows: map[string]int64{"sources/flights": 12000}, Total: map[string]int64{"sources/flights": 50000}, Acts: inOrder(
				loopAct(3, state.LoopRetrain, costing(planner.LoopDetail{Rows: map[string]int64{"sources/flights": 48000}})), loopAct(3.5, state.LoopRetrained, of(1), inRevision(7)))}},
		{name: "rows beyond those of such a version", now: 20, act: state.LoopRetrain, want: "sources/flights has 11000 new rows >= 10000",
			state: planner.LoopState{Rows: map[string]int64{"sources/flights": 21000}, Total: map[string]int64{"sources/flights": 59000}, Acts: inOrder(
				loopAct(3, state.LoopRetrain, costing(planner.LoopDetail{Rows: map[string]int64{"sources/flights": 48000}})), loopAct(3.5, state.LoopRetrained, of(1), inRevision(7)))}},
		{name: "rows of a training that failed", now: 20, act: state.LoopRetrain, want: "sources/flights has 12000 new rows >= 10000", loop: func(l *ir.Loop) { l.When = l.When[2:] },
			state: planner.LoopState{Rows: map[string]int64{"sources/flights": 12000}, Total: map[string]int64{"sources/flights": 50000}, Acts: inOrder(
				loopAct(3, state.LoopRetrain, costing(planner.LoopDetail{Rows: map[string]int64{"sources/flights": 50000}})), loopAct(3.5, state.LoopFailed, of(1)))}},
		{name: "fewer rows than before", now: 2, want: "nothing calls", state: planner.LoopState{Rows: map[string]int64{"sources/flights": -5}}, until: 3},
		{name: "cool-down", now: 30, act: state.LoopHold, want: "temp ks 0.31 > 0.1, but cool_down lasts until 2026-01-02 15:00 UTC", until: 39,
			state: planner.LoopState{Acts: inOrder(trained(27, 7)...), Measurements: drifted}},
		{name: "a person does not wait for the cool-down", now: 30, act: state.LoopRetrain, want: "triggered by ann: new labels",
			state: planner.LoopState{Acts: inOrder(append(trained(27, 7), loopAct(30, state.LoopTrigger, by("ann"), because("", "new labels")))...)}},
		{name: "runs", now: 60, act: state.LoopHold, want: "there were 2 trainings in 7d, at most 2 may be: the next one begins at 2026-01-08 03:00 UTC", until: 171,
			state: planner.LoopState{Acts: inOrder(append(trained(3, 7), loopAct(27, state.LoopRetrain), loopAct(27.5, state.LoopRetrained, of(3), inRevision(8)))...), Measurements: measured(inputs, 60, "x")}},
		{name: "runs with nothing to train", now: 60, act: state.LoopRetrain, want: "x",
			state: planner.LoopState{Acts: inOrder(append(trained(3, 7), loopAct(27, state.LoopRetrain), loopAct(27.5, state.LoopRetrained, of(3)))...), Measurements: measured(inputs, 60, "x")}},
		{name: "cost", now: 30, act: state.LoopHold, want: "trainings cost 15.00 USD in 7d and the next one about 6.00 USD, at most 20.00 USD may be spent: it begins at 2026-01-08 03:00 UTC", until: 171,
			state: planner.LoopState{Cost: 6 * dollar, Measurements: drifted, Acts: inOrder(
				loopAct(3, state.LoopRetrain), loopAct(4, state.LoopFailed, of(1), costing(planner.LoopDetail{Cost: 15 * dollar})))}},
		{name: "a training that costs more than all may", now: 3, act: state.LoopAlert, want: "a training costs about 21.00 USD, more than at_most: cost: 20.00 USD", state: planner.LoopState{Cost: 21 * dollar}},
		{name: "back-off", now: 3.1, act: state.LoopHold, want: "it failed the last time: the next attempt begins at 2026-01-01 03:15 UTC", until: 3.25, state: planner.LoopState{Acts: inOrder(failing(1)...)}},
		{name: "the back-off ends", now: 3.25, act: state.LoopRetrain, want: "fired once", state: planner.LoopState{Acts: inOrder(failing(1)...)}},
		{name: "many failures", now: 5.1, act: state.LoopAlert, want: "a training failed 3 times in a row, the last time with: out of memory", state: planner.LoopState{Acts: inOrder(failing(3)...)}},
		{name: "the alert was recorded", now: 5.1, act: state.LoopHold, want: "it failed 3 times in a row", until: 6,
			state: planner.LoopState{Acts: inOrder(append(failing(3), loopAct(5, state.LoopAlert, because("retrain", ""), costing(planner.LoopDetail{Why: "failures"})))...)}},
		{name: "a person resumes after failures", now: 5.1, act: state.LoopRetrain, want: "fired once", state: planner.LoopState{Acts: inOrder(append(failing(3), loopAct(5.05, state.LoopResume, by("ann")))...)}},
		{name: "paused", now: 3, want: "paused by ann since 2026-01-01 02:00 UTC: audit", state: planner.LoopState{Acts: inOrder(loopAct(2, state.LoopPause, by("ann"), because("", "audit")))}},
		{name: "resumed", now: 3, act: state.LoopRetrain, state: planner.LoopState{Acts: inOrder(loopAct(2, state.LoopPause, by("ann")), loopAct(2.5, state.LoopResume, by("ann")))}},
		{name: "pinned", now: 3, act: state.LoopHold, want: "deployments/api/serve is pinned by ann since 2026-01-01 01:00 UTC: audit; tenon pin --remove deployments.api.serve lifts that",
			state: planner.LoopState{Pins: map[string]state.Pin{"deployments/api/serve": {Unit: "deployments/api/serve", By: "ann", At: hours(1), Reason: "audit"}}}},
		{name: "another model is pinned", now: 3, act: state.LoopRetrain, state: planner.LoopState{Pins: map[string]state.Pin{"models/other": {Unit: "models/other", By: "ann"}}}},
		{name: "busy", now: 3, want: "an apply is running", state: planner.LoopState{Busy: "an apply is running"}},
		{name: "begun and not ended", now: 4, act: state.LoopRetrain, want: "inputs drifted", state: planner.LoopState{Acts: inOrder(loopAct(3, state.LoopRetrain, because(inputs, "inputs drifted")))}},
		{name: "ended and not recorded", now: 4, act: state.LoopRetrained, want: "inputs drifted", state: planner.LoopState{Acts: inOrder(loopAct(3, state.LoopRetrain, because(inputs, "inputs drifted"))), Ended: &planner.LoopRevision{Number: 8, Outcome: state.Done}}},
		{name: "failed and not recorded", now: 4, act: state.LoopFailed, want: "gate: 0.6 < 0.65", state: planner.LoopState{Acts: inOrder(loopAct(3, state.LoopRetrain)), Ended: &planner.LoopRevision{Number: 8, Outcome: state.Failure, Reason: "gate: 0.6 < 0.65"}}},
		{name: "begun and then paused", now: 4, act: state.LoopGivenUp, want: "paused by ann", state: planner.LoopState{Acts: inOrder(loopAct(3, state.LoopRetrain), loopAct(3.1, state.LoopPause, by("ann")))}},
		{name: "begun and then pinned", now: 4, act: state.LoopGivenUp, want: "models/late is pinned by ann", state: planner.LoopState{Acts: inOrder(loopAct(3, state.LoopRetrain)), Pins: map[string]state.Pin{"models/late": {Unit: "models/late", By: "ann"}}}},
		{name: "what was given up is still called for", now: 5, act: state.LoopRetrain, want: "fired once",
			state: planner.LoopState{Acts: inOrder(loopAct(3, state.LoopRetrain), loopAct(3.1, state.LoopPause), loopAct(3.2, state.LoopGivenUp, of(1)), loopAct(4, state.LoopResume))}},
		{name: "the clock was set back", now: 4, want: "the clock shows 2026-01-01 04:00 UTC, but the last act of the record is of 2026-01-01 09:00 UTC", state: planner.LoopState{Acts: inOrder(loopAct(9, state.LoopHold))}},

		{name: "worse than before", now: 30, act: state.LoopRollback, want: "back from revision 7 to 5: roc_auc 0.58 < 0.65",
			state: planner.LoopState{Acts: inOrder(trained(3, 7)...), Measurements: worse, Serving: &planner.LoopVersion{Revision: 7, Since: hours(4), Before: 5}}},
		{name: "worse in a window that began before", now: 30, act: state.LoopRetrain, want: "fired once",
			state: planner.LoopState{Acts: inOrder(trained(3, 7)...), Measurements: worse, Serving: &planner.LoopVersion{Revision: 7, Since: hours(29.5), Before: 5}}},
		{name: "worse, and deployed by a person", now: 30, act: state.LoopAlert, want: "roc_auc 0.58 < 0.65, but it is not rolled back: revision 8 is not a training of this loop",
			state: planner.LoopState{Acts: inOrder(trained(3, 7)...), Measurements: worse, Serving: &planner.LoopVersion{Revision: 8, Since: hours(4), Before: 7}}},
		{name: "worse, and pinned", now: 30, act: state.LoopAlert, want: "not rolled back: models/late is pinned by ann",
			state: planner.LoopState{Acts: inOrder(trained(3, 7)...), Measurements: worse, Serving: &planner.LoopVersion{Revision: 7, Since: hours(4), Before: 5}, Pins: map[string]state.Pin{"models/late": {Unit: "models/late", By: "ann"}}}},
		{name: "worse, and nothing before", now: 30, act: state.LoopAlert, want: "there is no revision to go back to",
			state: planner.LoopState{Acts: inOrder(trained(3, 7)...), Measurements: worse, Serving: &planner.LoopVersion{Revision: 7, Since: hours(4)}}},
		{name: "a rollback that failed backs off", now: 30, act: state.LoopHold, want: "but it failed the last time", until: 30.05,
			state: planner.LoopState{Acts: inOrder(append(trained(3, 7), loopAct(29.7, state.LoopRollback), loopAct(29.8, state.LoopFailed, of(3)))...), Measurements: worse, Serving: &planner.LoopVersion{Revision: 7, Since: hours(4), Before: 5}}},
		{name: "a person rolled back", now: 30, act: state.LoopHold, want: "ann rolled back to what is in service at 2026-01-02 01:00 UTC; tenon loops resume or trigger lifts that",
			state: planner.LoopState{Acts: inOrder(trained(3, 7)...), Measurements: drifted, Serving: &planner.LoopVersion{Revision: 9, Since: hours(25), Before: 5, Human: &planner.LoopPerson{By: "ann", At: hours(25)}}}},
		{name: "a person rolled back, and resumed the loop", now: 30, act: state.LoopRetrain, want: "temp ks",
			state: planner.LoopState{Acts: inOrder(append(trained(3, 7), loopAct(26, state.LoopResume, by("ann")))...), Measurements: drifted, Serving: &planner.LoopVersion{Revision: 9, Since: hours(25), Human: &planner.LoopPerson{By: "ann", At: hours(25)}}}},
		{name: "a person rolled back after a trigger", now: 30, act: state.LoopHold, want: "ann rolled back",
			state: planner.LoopState{Acts: inOrder(append(trained(3, 7), loopAct(24, state.LoopTrigger, by("bob")))...), Serving: &planner.LoopVersion{Revision: 9, Since: hours(25), Human: &planner.LoopPerson{By: "ann", At: hours(25)}}}},
		{name: "what a rollback was about calls for no training", loop: func(l *ir.Loop) { l.When = []ir.LoopTrigger{{Monitor: truth}} }, now: 50, want: "nothing calls",
			state: planner.LoopState{Acts: inOrder(append(trained(3, 7), loopAct(30, state.LoopRollback), loopAct(30.1, state.LoopRolledBack, of(3), inRevision(8)))...), Measurements: worse, Serving: &planner.LoopVersion{Revision: 8, Since: hours(30.1), Before: 7}}},

		{name: "a step without a verdict", now: 31, want: "the release of deployments/api is at 10 %: monitors/truth has no verdict yet on what was answered since 2026-01-02 05:30 UTC",
			state: planner.LoopState{Acts: inOrder(trained(28, 7)...), Measurements: measured(truth, 30, ""), Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 7, Weight: 10, Since: hours(29.5)}}},
		{name: "a good step", now: 31, want: "is at 10 %", step: true,
			state: planner.LoopState{Acts: inOrder(trained(28, 7)...), Measurements: measured(truth, 31, ""), Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 7, Weight: 10, Since: hours(29.5)}}},
		{name: "a step of which the challenger answered nothing", now: 31, want: "is at 10 %: no row that monitors/truth measured last was answered by the new version",
			state: planner.LoopState{Acts: inOrder(trained(28, 7)...), Measurements: measured(truth, 31, ""), Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 7, Weight: 10, Since: hours(29.5), Rows: map[string]int64{truth: 0}}}},
		{name: "a step of which the challenger answered one row", now: 31, want: "is at 10 %", step: true,
			state: planner.LoopState{Acts: inOrder(trained(28, 7)...), Measurements: measured(truth, 31, ""), Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 7, Weight: 10, Since: hours(29.5), Rows: map[string]int64{truth: 1}}}},
		{name: "what others answer says nothing of a shadow", now: 31, want: "is at 0 %", step: true,
			state: planner.LoopState{Acts: inOrder(trained(28, 7)...), Measurements: unknown(truth, 31), Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 7, Since: hours(29.5), Rows: map[string]int64{truth: 0}}}},
		{name: "a verdict from before the clock was set back", now: 31, want: "monitors/truth has no verdict yet",
			state: planner.LoopState{Acts: inOrder(trained(28, 7)...), Measurements: measured(truth, 40, ""), Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 7, Weight: 10, Since: hours(29.5)}}},
		{name: "a bad step", now: 31, act: state.LoopRollback, want: "the release of deployments/api ends at 10 %: roc_auc 0.58 < 0.65",
			state: planner.LoopState{Acts: inOrder(trained(28, 7)...), Measurements: measured(truth, 31, "roc_auc 0.58 < 0.65"), Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 7, Weight: 10, Since: hours(29.5)}}},
		{name: "objectives have no verdict on a shadow", now: 31, want: "is at 0 %", step: true, loop: func(l *ir.Loop) { l.Judge = []string{"slos/api"} },
			state: planner.LoopState{Acts: inOrder(trained(28, 7)...), Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 7, Since: hours(29.5)}}},
		{name: "objectives judge what is answered", now: 31, want: "slos/api has no verdict yet", loop: func(l *ir.Loop) { l.Judge = []string{"slos/api"} },
			state: planner.LoopState{Acts: inOrder(trained(28, 7)...), Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 7, Weight: 10, Since: hours(29.5)}}},
		{name: "a release by a person", now: 31, want: "that is not of this loop", step: true,
			state: planner.LoopState{Releasing: &planner.LoopRelease{Unit: "deployments/api", Revision: 9, Weight: 10, Since: hours(29.5)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := lateLoop()
			if c.loop != nil {
				c.loop(&l)
			}
			c.state.Since = loopStart
			d := planner.DecideLoop(l, c.state, hours(c.now))
			var until time.Time
			if c.until > 0 {
				until = hours(c.until)
			}
			if d.Act != c.act || !strings.Contains(d.Reason, c.want) || !d.Until.Equal(until) || d.Step != c.step {
				t.Errorf("%q until %s, step %t: %s\nwant %q until %s, step %t: %s", d.Act, d.Until, d.Step, d.Reason, c.act, until, c.step, c.want)
			}
			if len(c.state.Acts) > 0 && d.Seen != c.state.Acts[0].Number {
				t.Errorf("it has seen %d of %d acts", d.Seen, len(c.state.Acts))
			}
		})
	}
}

// An alert about failures is raised once, and does not keep the loop from trying again.
func TestLoopTriesAgainAfterAnAlert(t *testing.T) {
	failing := func(kind state.LoopActKind, acts ...state.LoopAct) []state.LoopAct {
		for i := range 3 {
			acts = append(acts, loopAct(float64(3+i), kind), loopAct(float64(3+i), state.LoopFailed, of(int64(len(acts)+1)), because("", "out of memory")))
		}
		return acts
	}
	for _, c := range []struct {
		kind  state.LoopActKind
		state planner.LoopState
	}{
		{state.LoopRetrain, planner.LoopState{Acts: inOrder(failing(state.LoopRetrain)...)}},
		{state.LoopRollback, planner.LoopState{
			Acts:         inOrder(failing(state.LoopRollback, loopAct(1, state.LoopRetrain), loopAct(1, state.LoopRetrained, of(1), inRevision(7)))...),
			Measurements: measured(truth, 5, "roc_auc 0.58 < 0.65"), Serving: &planner.LoopVersion{Revision: 7, Since: hours(1), Before: 5},
		}},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			l := lateLoop(func(l *ir.Loop) { l.CoolDown = 0 })
			c.state.Since = loopStart
			var did []state.LoopActKind
			for _, now := range []float64{5.1, 5.2, 5.3, 6} { // the back-off ends an hour after the last failure
				d := planner.DecideLoop(l, c.state, hours(now))
				if did = append(did, d.Act); d.Act != "" {
					a := d.Entry("loops/late", hours(now))
					a.Number = int64(len(c.state.Acts) + 1)
					c.state.Acts = append([]state.LoopAct{a}, c.state.Acts...)
				}
			}
			if want := []state.LoopActKind{state.LoopAlert, state.LoopHold, "", c.kind}; !slices.Equal(did, want) {
				t.Errorf("it did %q, want %q", did, want)
			}
		})
	}
}

// With catch_up none, times of a schedule that are held back again and again are not missed.
func TestLoopDoesNotMissWhatItHoldsBack(t *testing.T) {
	l := lateLoop(func(l *ir.Loop) { l.CatchUp = ir.CatchUpNone })
	s := planner.LoopState{Since: loopStart, Pins: map[string]state.Pin{"models/late": {Unit: "models/late", By: "ann", At: hours(1)}}}
	var did []state.LoopActKind
	for _, now := range []float64{3, 3.2, 27, 27.2, 28} { // the schedule fires at 3 and 27
		if now == 28 {
			s.Pins = nil
		}
		d := planner.DecideLoop(l, s, hours(now))
		if did = append(did, d.Act); d.Act != "" {
			a := d.Entry("loops/late", hours(now))
			a.Number = int64(len(s.Acts) + 1)
			s.Acts = append([]state.LoopAct{a}, s.Acts...)
		}
	}
	if want := []state.LoopActKind{state.LoopHold, "", state.LoopHold, "", state.LoopRetrain}; !slices.Equal(did, want) {
		t.Errorf("it did %q, want %q", did, want)
	}
}
