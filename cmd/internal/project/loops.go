package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Loop is a deployed loop with what it does next.
type Loop struct {
	Unit string   `json:"unit"` // "loops/late"
	Loop *ir.Loop `json:"loop"`
	// Paused is the act by which a person paused it, or nil.
	Paused *state.LoopAct `json:"paused,omitempty"`
	// Last is the last act of the record, or nil.
	Last *state.LoopAct `json:"last,omitempty"`
	// Next is what it does now. A controller does so; tenon run starts one.
	Next planner.LoopDecision `json:"next"`
}

// An ExplainedLoop is a loop with what its decision follows from.
type ExplainedLoop struct {
	Loop
	Facts []planner.LoopFact `json:"facts"`
	Acts  []state.LoopAct    `json:"acts"` // newest first
}

// Loops returns the deployed loops and what they do at a time, sorted.
func (w *Workspace) Loops(ctx context.Context, now time.Time) ([]Loop, error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	all := []Loop{}
	for _, id := range s.having(isLoop) {
		l, _, err := w.loopNow(ctx, s.units[id], now)
		if err != nil {
			return nil, err
		}
		all = append(all, *l)
	}
	return all, nil
}

// ExplainLoop returns what a loop does at a time, what that follows from, and its last acts. A
// limit of 0 means all of them. Without a name it is the only loop.
func (w *Workspace) ExplainLoop(ctx context.Context, name string, now time.Time, limit int) (*ExplainedLoop, error) {
	u, err := w.loopNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	l, st, err := w.loopNow(ctx, u, now)
	if err != nil {
		return nil, err
	}
	out := &ExplainedLoop{Loop: *l, Facts: planner.ExplainLoop(*u.Loop, *st, now), Acts: st.Acts}
	if limit > 0 {
		out.Acts = out.Acts[:min(limit, len(out.Acts))]
	}
	return out, nil
}

func (w *Workspace) loopNow(ctx context.Context, u *ir.Unit, now time.Time) (*Loop, *planner.LoopState, error) {
	st, err := w.LoopState(ctx, u)
	if err != nil {
		return nil, nil, err
	}
	l := &Loop{Unit: u.ID, Loop: u.Loop, Next: planner.DecideLoop(*u.Loop, *st, now), Paused: planner.PausedBy(st.Acts)}
	if len(st.Acts) > 0 {
		l.Last = &st.Acts[0]
	}
	return l, st, nil
}

func isLoop(u *ir.Unit) bool { return u.Loop != nil }

// loopNamed returns the deployed loop of a name, or the only one without a name.
func (w *Workspace) loopNamed(ctx context.Context, name string) (*ir.Unit, error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	return s.one("loops", name, isLoop, "loops: late: loop.#Retrain")
}

// TellLoop records that a person pauses, resumes or triggers a loop. It needs no lock, so it counts
// while an apply is running.
func (w *Workspace) TellLoop(ctx context.Context, name string, act state.LoopActKind, reason string) (*state.LoopAct, error) {
	u, err := w.loopNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	acts, err := w.store.LoopActs(ctx, u.ID, time.Time{}, 0)
	if err != nil {
		return nil, err
	}
	paused := planner.PausedBy(acts)
	switch {
	case act == state.LoopPause && paused != nil:
		return nil, fmt.Errorf("%s is paused already, by %s since %s", u.ID, paused.By, paused.At.Local().Format(time.DateTime))
	case act == state.LoopTrigger && paused != nil:
		return nil, fmt.Errorf("%s is paused by %s since %s: run tenon loops resume %s first", u.ID, paused.By, paused.At.Local().Format(time.DateTime), u.ID)
	}
	if act == state.LoopTrigger {
		pins, err := w.store.Pins(ctx)
		if err != nil {
			return nil, err
		}
		if p := planner.PinOf(*u.Loop, pins); p != nil {
			return nil, fmt.Errorf("%s is pinned by %s: run tenon pin --remove %s first", p.Unit, p.By, p.Unit)
		}
	}
	by, err := w.person(ctx)
	if err != nil {
		return nil, err
	}
	a := state.LoopAct{Loop: u.ID, At: time.Now().UTC(), Act: act, By: by, Reason: reason}
	a.Number, err = w.store.AddLoopAct(ctx, a)
	return &a, err
}

// LoopState collects what a loop decides from.
func (w *Workspace) LoopState(ctx context.Context, u *ir.Unit) (*planner.LoopState, error) {
	s, err := w.loopState(ctx, u)
	if err != nil {
		return nil, err
	}
	held, err := w.store.Holder(ctx)
	if held != nil {
		s.Busy = held.Error()
	}
	return s, err
}

// loopState is [Workspace.LoopState] whoever has the lock.
func (w *Workspace) loopState(ctx context.Context, u *ir.Unit) (*planner.LoopState, error) {
	current, revisions, err := w.now(ctx)
	if err != nil {
		return nil, err
	}
	s := &planner.LoopState{Since: current[u.ID].Since, Measurements: map[string][]state.Measurement{}}
	if s.Acts, err = w.store.LoopActs(ctx, u.ID, time.Time{}, 0); err != nil {
		return nil, err
	}
	for _, id := range u.Loop.Monitors() {
		last, err := w.store.LastMeasurement(ctx, id)
		if err != nil {
			return nil, err
		}
		if last != nil {
			s.Measurements[id] = []state.Measurement{*last}
		}
	}
	if s.Pins, err = w.store.Pins(ctx); err != nil {
		return nil, err
	}
	s.Cost = planner.LoopCost(s.Acts)
	if open := planner.OpenAct(s.Acts); open != nil {
		if s.Ended, err = w.endOf(ctx, *open, revisions); err != nil {
			return nil, err
		}
	}
	if err := w.servedVersions(ctx, u.Loop, current, revisions, s); err != nil {
		return nil, err
	}
	if s.Releasing != nil {
		if err := w.challengerRows(ctx, u.Loop.Judge, s.Releasing); err != nil {
			return nil, err
		}
	}
	if err := w.countRows(ctx, u.Loop, current, revisions, s); err != nil {
		return nil, err
	}
	return s, w.heedPeople(ctx, s, revisions)
}

// endOf returns how the revision of an act ended, or nil if there is none that did.
func (w *Workspace) endOf(ctx context.Context, a state.LoopAct, revisions []state.Revision) (*planner.LoopRevision, error) {
	for i := range revisions {
		r := &revisions[i]
		if r.Started.Before(a.At.Add(-time.Minute)) { // clocks differ
			return nil, nil
		}
		if r.Finished.IsZero() || r.Outcome == state.Canceled { // a controller that was stopped: the next one continues
			continue
		}
		if c, err := w.causeOf(ctx, *r); err != nil {
			return nil, err
		} else if c == nil || c.Loop != a.Loop || c.Number != a.Number {
			continue
		}
		p, err := w.recordedPlan(ctx, r)
		if err != nil {
			return nil, err
		}
		out := &planner.LoopRevision{Number: r.Number, Outcome: r.Outcome}
		if r.Outcome != state.Done {
			if out.Reason, err = w.failure(ctx, r.Number); err != nil {
				return nil, err
			}
		}
		out.Cost, err = w.jobsCost(ctx, *r, p, revisions)
		return out, err
	}
	return nil, nil
}

// jobsCost returns what the jobs of a revision cost.
func (w *Workspace) jobsCost(ctx context.Context, r state.Revision, p *planner.Plan, all []state.Revision) (sum money.Amount, err error) {
	jobs, _ := usesIn(p, r, namesSince(r, all))
	runs, err := w.store.RunsOf(ctx, r.Number)
	for _, run := range runs {
		if u, ok := jobs[run.Unit]; ok && run.Attempt > 0 && !run.Finished.IsZero() {
			sum = sum.Plus(u.Rate.During(run.Took()))
		}
	}
	return sum, err
}

// failure says which unit of a revision failed, and why.
func (w *Workspace) failure(ctx context.Context, revision int) (string, error) {
	runs, err := w.store.RunsOf(ctx, revision)
	if err != nil {
		return "", err
	}
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].Outcome == state.Failure {
			return fmt.Sprintf("%s failed in revision %d: %s", runs[i].Unit, revision, runs[i].Error), nil
		}
	}
	return "", nil
}

// servedVersions finds the version of the model that is in service, and the release in progress.
func (w *Workspace) servedVersions(ctx context.Context, l *ir.Loop, current map[string]state.Current, revisions []state.Revision, s *planner.LoopState) error {
	var served *state.Current
	for id, c := range current {
		if c.Kind != ir.Service {
			continue
		}
		if entity, _ := ir.SplitID(id); !slices.Contains(l.Deployments, entity) {
			continue
		}
		if served == nil || id < served.Unit {
			served = &c
		}
		if c.Route.Releasing() && (s.Releasing == nil || id < s.Releasing.Unit) {
			v := c.Route.Challenger()
			s.Releasing = &planner.LoopRelease{Unit: id, Revision: v.Revision, Weight: v.Weight, Since: c.Route.Since}
		}
	}
	if served == nil {
		c, ok := current[l.Model+"/register"]
		if !ok {
			return nil
		}
		served = &c
	}
	v := &planner.LoopVersion{Revision: served.Revision}
	key := planner.ServingKey(*served)
	if r := served.Route; r.Releasing() || r.Ending() {
		v.Revision, key = r.Champion().Revision, r.Champion().Key
	}
	v.Since = answersSince(served.Since, v.Revision, revisions)
	s.Serving = v
	looked := 0
	for i := range revisions {
		r := &revisions[i]
		switch {
		case r.Number == v.Revision && r.Act == state.Rollback:
			cause, err := w.causeOf(ctx, *r)
			if err != nil {
				return err
			}
			if cause != nil { // one of a loop, which may not have ended
				continue
			}
			v.Human = &planner.LoopPerson{By: "somebody", At: r.Started}
			if r.Protection != nil {
				v.Human.By = r.Protection.By
			}
		case r.Number < v.Revision && v.Before == 0 && r.Deployed != "" && looked < lookedBack:
			looked++
			was, err := w.keyThen(ctx, r, served.Unit)
			if err != nil {
				continue // it was removed by hand, so it cannot be restored
			}
			if was != "" && was != key {
				v.Before = r.Number
			}
		}
	}
	return nil
}

// answersSince returns when the version that a revision deployed began to answer everything. started is
// when its process began at the latest: a repair starts the same version again.
func answersSince(started time.Time, revision int, revisions []state.Revision) time.Time {
	since := started
	if i := slices.IndexFunc(revisions, func(r state.Revision) bool { return r.Number == revision }); i >= 0 {
		if ended := revisions[i].Finished; !ended.IsZero() && ended.Before(since) {
			since = ended
		}
	}
	for _, r := range revisions {
		if r.Number > revision && r.Act == state.Release && r.Outcome == state.Done && r.Finished.After(since) {
			since = r.Finished // its share grew then at the latest
		}
	}
	return since
}

// lookedBack is among how many revisions the one before the version in service is searched.
const lookedBack = 100

// person returns who runs this program, if the rules of the environment allow that they change it.
func (w *Workspace) person(ctx context.Context) (string, error) {
	record, err := w.permitStep(ctx)
	if err != nil {
		return "", err
	}
	if record != nil {
		return record.By, nil
	}
	by, err := w.set.identity()
	if err != nil {
		return "", errors.Join(errors.New("the record needs to know who you are"), err)
	}
	return by, nil
}
