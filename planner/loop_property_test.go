package planner_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A loopWorld is a system with a loop in virtual time: its record, its revisions, what people do,
// and controllers that die between any two steps.
type loopWorld struct {
	t         *rapid.T
	l         ir.Loop
	now       time.Time
	acts      []state.LoopAct // newest first
	short     []state.LoopAct // those that are left of them after acts were pruned now and then
	pins      map[string]state.Pin
	revisions []loopRevision
	monitors  map[string][]state.Measurement
	human     *planner.LoopPerson
	release   *planner.LoopRelease // in progress, or nil
	deaths    int
	pruned    int
	steps     int // of releases
	aborts    int
}

// A loopRevision is an apply: of an act of the loop, or of a person.
type loopRevision struct {
	number  int
	act     int64 // that it carries out, or 0
	kind    state.LoopActKind
	at      time.Time
	outcome state.Outcome
	cost    money.Amount
	back    int  // the revision that it restored
	gated   bool // its model has passed its gates
	apart   bool // it does not answer everything: a challenger, one that was rejected, or the end of its release
}

var errKilled = errors.New("the controller was killed")

// dies reports whether the controller is killed here.
func (w *loopWorld) dies() bool {
	if rapid.IntRange(0, 9).Draw(w.t, "dies") > 0 {
		return false
	}
	w.deaths++
	return true
}

func (w *loopWorld) record(a state.LoopAct) state.LoopAct {
	a.Number = int64(len(w.acts) + 1)
	w.acts = append([]state.LoopAct{a}, w.acts...)
	w.short = append([]state.LoopAct{a}, w.short...)
	return a
}

// prune removes from the short record what no decision needs.
func (w *loopWorld) prune() {
	if rapid.IntRange(0, 4).Draw(w.t, "prunes") > 0 {
		return
	}
	gone := planner.PruneLoop(w.l, w.short, w.now, time.Hour, func(r int) bool { return w.serving() != nil && r == w.serving().number })
	w.short = slices.DeleteFunc(w.short, func(a state.LoopAct) bool { return slices.Contains(gone, a.Number) })
	w.pruned += len(gone)
}

// decide decides, and requires that the short record leads to the same decision.
func (w *loopWorld) decide() planner.LoopDecision {
	s := w.state()
	d := planner.DecideLoop(w.l, s, w.now)
	s.Acts, s.Cost = w.short, planner.LoopCost(w.short)
	if short := planner.DecideLoop(w.l, s, w.now); !reflect.DeepEqual(short, d) {
		w.t.Fatalf("it decides\n%+v\nand after its record was pruned from %d to %d acts\n%+v", d, len(w.acts), len(w.short), short)
	}
	return d
}

// serving is the last revision whose version answers everything, but for a challenger.
func (w *loopWorld) serving() *loopRevision {
	for i := range slices.Backward(w.revisions) {
		if w.revisions[i].outcome == state.Done && !w.revisions[i].apart {
			return &w.revisions[i]
		}
	}
	return nil
}

func (w *loopWorld) state() planner.LoopState {
	s := planner.LoopState{Acts: w.acts, Since: loopStart, Measurements: w.monitors, Pins: w.pins, Cost: planner.LoopCost(w.acts), Releasing: w.release}
	if v := w.serving(); v != nil {
		s.Serving = &planner.LoopVersion{Revision: v.number, Since: v.at, Human: w.human}
		for _, r := range w.revisions {
			if r.outcome == state.Done && !r.apart && r.number < v.number {
				s.Serving.Before = r.number
			}
		}
	}
	if open := planner.OpenAct(w.acts); open != nil {
		for _, r := range w.revisions {
			if r.act == open.Number {
				s.Ended = &planner.LoopRevision{Number: r.number, Outcome: r.outcome, Cost: r.cost}
			}
		}
	}
	return s
}

// tick is what a controller does: it decides, records, acts, and records again. It may be killed
// before each of these.
func (w *loopWorld) tick() error {
	w.prune()
	d := w.decide()
	if d.Reason == "" {
		w.t.Fatalf("a decision without a reason: %+v", d)
	}
	if d.Act == "" {
		if d.Step && w.release != nil && !w.dies() {
			w.step()
		}
		return nil
	}
	if w.dies() {
		return errKilled
	}
	begins := d.Act == state.LoopRetrain || d.Act == state.LoopRollback
	if !begins {
		w.record(d.Entry("loops/late", w.now))
		return nil
	}
	if d.Of == 0 {
		w.people() // may say something after the decision
		if int64(len(w.acts)) != d.Seen || len(w.pins) > 0 {
			return nil // the state refuses the claim
		}
		w.record(d.Entry("loops/late", w.now))
		if w.dies() {
			return errKilled
		}
		w.people() // before the controller has the lock
		if d = w.decide(); d.Act == state.LoopGivenUp {
			w.record(d.Entry("loops/late", w.now))
			return nil
		}
	}
	if d.Of == 0 || d.Act != state.LoopRetrain && d.Act != state.LoopRollback {
		w.t.Fatalf("it does not continue what it has claimed: %+v", d)
	}
	w.act(d, d.Of)
	if w.dies() {
		return errKilled
	}
	return nil // the next tick records the end
}

// act carries out a training or a rollback as a revision. The revision says of which act it is.
func (w *loopWorld) act(d planner.LoopDecision, number int64) {
	for _, r := range w.revisions {
		if r.act == number {
			w.t.Fatalf("act %d is done twice", number)
		}
	}
	if len(w.pins) > 0 {
		w.t.Fatalf("act %d changes what is pinned", number)
	}
	if p := planner.PausedBy(w.acts); p != nil {
		w.t.Fatalf("act %d is done while %s has paused the loop", number, p.By)
	}
	r := loopRevision{number: len(w.revisions) + 1, act: number, kind: d.Act, at: w.now, outcome: state.Done, gated: true}
	switch {
	case d.Detail.Abort != "":
		if w.release == nil || w.revisions[w.release.Revision-1].act == 0 {
			w.t.Fatalf("ends the release %+v, which is not one of the loop", w.release)
		}
		r.apart = true
	case d.Act == state.LoopRollback:
		r.back = d.Detail.Back
		from := w.serving()
		if from.act == 0 || from.kind != state.LoopRetrain || w.human != nil {
			w.t.Fatalf("rolls back revision %+v, which is not a training of the loop", *from)
		}
	default:
		if h := w.human; h != nil && !slices.ContainsFunc(w.acts, func(a state.LoopAct) bool {
			return (a.Act == state.LoopResume || a.Act == state.LoopTrigger) && a.At.After(h.At)
		}) {
			w.t.Fatalf("trains after %s rolled back", h.By)
		}
		w.human = nil
		r.cost = money.Amount(rapid.IntRange(0, 8).Draw(w.t, "cost")) * money.One
		r.at = w.now.Add(time.Duration(rapid.IntRange(1, 180).Draw(w.t, "minutes of training")) * time.Minute)
		w.now = r.at
		switch {
		case rapid.IntRange(0, 2).Draw(w.t, "fails") == 0:
			r.outcome, r.gated = state.Failure, false
		case rapid.Bool().Draw(w.t, "in steps"):
			r.apart = true
			w.release = &planner.LoopRelease{Unit: "deployments/api", Revision: r.number, Weight: 10, Since: r.at}
		}
	}
	if d.Act == state.LoopRollback && rapid.IntRange(0, 3).Draw(w.t, "rollback fails") == 0 {
		r.outcome = state.Failure
	} else if d.Detail.Abort != "" {
		w.release = nil
		w.aborts++
	}
	w.revisions = append(w.revisions, r)
}

// step takes the next step of the release in progress, which the judges allow.
func (w *loopWorld) step() {
	if len(w.pins) > 0 || planner.PausedBy(w.acts) != nil {
		w.t.Fatalf("a release goes on although a person has pinned or paused")
	}
	for _, m := range w.l.Judge {
		if all := w.monitors[m]; len(all) == 0 || all[0].Begin.Before(w.release.Since) || all[0].Verdict != "ok" && all[0].Verdict != "warn" {
			w.t.Fatalf("a release goes on without a verdict of %s on the step since %s: %+v", m, w.release.Since, all)
		}
	}
	next := *w.release
	next.Since = w.now
	w.steps++
	switch next.Weight {
	case 10:
		next.Weight = 50
		w.release = &next
	default:
		w.revisions[next.Revision-1].apart = false
		w.revisions[next.Revision-1].at = w.now
		w.release = nil
	}
}

// people do something now and then.
func (w *loopWorld) people() {
	a := state.LoopAct{At: w.now, By: "ann"}
	switch rapid.IntRange(0, 60).Draw(w.t, "a person") {
	case 0:
		a.Act = state.LoopPause
		w.record(a)
	case 1, 2, 3:
		a.Act = state.LoopResume
		w.record(a)
	case 4:
		a.Act = state.LoopTrigger
		w.record(a)
	case 5:
		w.pins["models/late"] = state.Pin{Unit: "models/late", By: "ann", At: w.now}
	case 6, 7, 8:
		clear(w.pins)
	case 9:
		if v := w.serving(); v != nil && v.number > 1 {
			w.now = w.now.Add(time.Second)
			w.revisions = append(w.revisions, loopRevision{number: len(w.revisions) + 1, at: w.now, outcome: state.Done, back: 1, gated: true})
			w.human, w.release = &planner.LoopPerson{By: "ann", At: w.now}, nil
		}
	}
}

// measure measures each monitor, whose labels are late and whose verdicts drift.
func (w *loopWorld) measure() {
	for _, m := range []string{inputs, truth} {
		delay := time.Duration(rapid.IntRange(0, 12).Draw(w.t, "label delay")) * time.Hour
		verdict := rapid.SampledFrom([]string{"ok", "ok", "ok", "warn", "unknown", "alert"}).Draw(w.t, m)
		end := w.now.Add(-delay)
		w.monitors[m] = []state.Measurement{{Monitor: m, Begin: end.Add(-time.Hour), End: end, At: w.now, Verdict: verdict, Reason: m + " " + verdict}}
	}
}

// check compares the record with what happened.
func (w *loopWorld) check() {
	end := map[int64]state.LoopAct{}
	for _, a := range w.acts {
		if a.Of > 0 {
			if _, twice := end[a.Of]; twice {
				w.t.Fatalf("act %d ends twice", a.Of)
			}
			end[a.Of] = a
		}
	}
	detail := func(a state.LoopAct) (d planner.LoopDetail) {
		if len(a.Detail) > 0 {
			if err := json.Unmarshal(a.Detail, &d); err != nil {
				w.t.Fatal(err)
			}
		}
		return d
	}
	// Everything that happened is in the record.
	for _, r := range w.revisions {
		if r.act == 0 {
			continue
		}
		e, ok := end[r.act]
		if open := planner.OpenAct(w.acts); !ok && (open == nil || open.Number != r.act) {
			w.t.Fatalf("revision %d of act %d is not in the record", r.number, r.act)
		}
		if ok && (e.Revision != r.number || detail(e).Cost != r.cost || (e.Act == state.LoopFailed) != (r.outcome != state.Done)) {
			w.t.Fatalf("revision %+v is recorded as %+v", r, e)
		}
	}
	// The model in service has passed its gates.
	if v := w.serving(); v != nil && !v.gated {
		w.t.Fatalf("revision %d did not pass its gates and is in service", v.number)
	}
	// Budgets are respected in every period that ends with the begin of a training.
	for i, a := range w.acts {
		if a.Act != state.LoopRetrain {
			continue
		}
		runs := 0
		var spent money.Amount
		for _, before := range w.acts[i+1:] {
			if before.Act != state.LoopRetrain || !before.At.Add(w.l.AtMost.Per).After(a.At) {
				continue
			}
			e := end[before.Number]
			if e.Act == state.LoopRetrained {
				runs++
			}
			spent += detail(e).Cost
		}
		if runs >= w.l.AtMost.Runs {
			w.t.Fatalf("act %d begins training %d in %s", a.Number, runs+1, w.l.AtMost.Per)
		}
		if spent+detail(a).Cost > *w.l.AtMost.Cost {
			w.t.Fatalf("act %d begins after %d was spent in %s, and expects %d", a.Number, spent, w.l.AtMost.Per, detail(a).Cost)
		}
	}
}

// answered waits until nothing calls for a training any more, and fails if it takes too long:
// nothing is forgotten.
func (w *loopWorld) answered() {
	w.now = w.now.Add(time.Minute)
	clear(w.pins)
	w.monitors = map[string][]state.Measurement{}
	w.record(state.LoopAct{At: w.now, Act: state.LoopResume, By: "ann"})
	trigger := w.record(state.LoopAct{At: w.now, Act: state.LoopTrigger, By: "ann"})
	for range 40 * 24 {
		w.now = w.now.Add(time.Hour)
		w.monitors[truth] = []state.Measurement{{Monitor: truth, Begin: w.now.Add(-time.Minute), End: w.now, At: w.now, Verdict: "ok"}}
		d := w.decide()
		if d.Act == "" {
			if d.Step && w.release != nil {
				w.step()
			}
			continue
		}
		if d.Act == state.LoopRetrain && d.Of == 0 {
			a := w.record(d.Entry("loops/late", w.now))
			w.revisions = append(w.revisions, loopRevision{number: len(w.revisions) + 1, act: a.Number, kind: d.Act, at: w.now, outcome: state.Done, gated: true})
			w.human = nil
		} else if d.Act == state.LoopRetrain || d.Act == state.LoopRollback {
			w.revisions = append(w.revisions, loopRevision{number: len(w.revisions) + 1, act: d.Of, kind: d.Act, at: w.now, outcome: state.Done, gated: true})
		} else {
			w.record(d.Entry("loops/late", w.now))
		}
		if i := slices.IndexFunc(w.acts, func(a state.LoopAct) bool { return a.Act == state.LoopRetrained }); i >= 0 && w.acts[i].Of > trigger.Number {
			return
		}
	}
	w.t.Fatalf("a trigger was never answered: %s", planner.DecideLoop(w.l, w.state(), w.now).Reason)
}

// After every history of drifts, late labels, failing trainings, releases in steps, controllers that
// die, and people who pin, pause and roll back: the model in service passed its gates and was not
// rejected, judges allowed each step, budgets were respected, no person was overridden, nothing was
// done twice, everything is in the record, nothing is forgotten, and nothing was decided otherwise
// because the record had been pruned.
func TestLoopHistories(t *testing.T) {
	var deaths, trainings, rollbacks, steps, aborts, pruned int
	check := func(t *rapid.T) {
		twenty := 20 * money.One
		w := &loopWorld{t: t, now: loopStart, pins: map[string]state.Pin{}, monitors: map[string][]state.Measurement{}, l: lateLoop(func(l *ir.Loop) {
			l.When = []ir.LoopTrigger{{Schedule: "0 3 * * *", Zone: "Europe/Berlin"}, {Monitor: inputs}}
			l.CatchUp = rapid.SampledFrom([]ir.CatchUp{ir.CatchUpOnce, ir.CatchUpNone}).Draw(t, "catch up")
			l.CoolDown = time.Duration(rapid.IntRange(0, 24).Draw(t, "cool-down")) * time.Hour
			l.AtMost = &ir.LoopLimit{Runs: rapid.IntRange(1, 4).Draw(t, "runs"), Per: 7 * 24 * time.Hour, Cost: &twenty, Currency: "USD"}
		})}
		w.revisions = []loopRevision{{number: 1, at: loopStart, outcome: state.Done, gated: true}}
		for range rapid.IntRange(20, 60).Draw(t, "rounds") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "minutes")) * time.Minute)
			w.measure()
			w.people()
			for range 3 { // one controller dies, the next one takes over
				if err := w.tick(); err == nil {
					break
				}
			}
			w.check()
		}
		deaths, steps, aborts, pruned = deaths+w.deaths, steps+w.steps, aborts+w.aborts, pruned+w.pruned
		for _, r := range w.revisions {
			switch r.kind {
			case state.LoopRetrain:
				trainings++
			case state.LoopRollback:
				rollbacks++
			}
		}
		w.answered()
		w.check()
	}
	few := func() bool {
		return deaths == 0 || trainings == 0 || rollbacks == 0 || steps == 0 || aborts == 0 || pruned == 0
	}
	for range 10 { // by chance, some histories have no record that is pruned
		if rapid.Check(t, check); !few() {
			break
		}
	}
	if few() {
		t.Errorf("%d deaths, %d trainings, %d rollbacks, %d steps, %d ends of releases and %d pruned acts: the histories test too little", deaths, trainings, rollbacks, steps, aborts, pruned)
	}
}
