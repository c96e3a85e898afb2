package project

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A simulation is the engine of a simulated controller. Its state is in memory.
type simulation struct {
	*Workspace
	o        SimulateOptions
	deployed *snapshot
	dir      string // for files

	system   *ir.System // that declares the loop
	blobs    map[string][]byte
	loop     *ir.Unit
	monitors map[string]*ir.Unit // of the loop
	judge    *ir.Unit            // the monitor by which quality is measured, or nil
	service  string              // the unit that answers
	delay    time.Duration       // until a label is known at the latest

	duck     *duckProcess
	clock    *virtualClock
	cancel   func()
	err      error // that ended it
	recorded string
	requests string // path of the recorded requests
	rows     string // the same, as the model reads them
	first    time.Time

	states    []*Workspace // of trainings
	known     []*version   // recorded versions of the model, the newest first
	acts      []state.LoopAct
	measured  map[string][]state.Measurement
	revisions []simulatedRevision // the number of a revision is its place, from 1
	since     time.Time           // when the version in service began to answer everything
	served    int                 // the revision in service
	route     *state.Route        // of the release in progress, or nil
	spans     int                 // files of the log
	spanFrom  time.Time
	// spanAnswers are who answers in the last of them.
	spanAnswers []window.Answers
	out         *SimulatedLoop
}

// A simulatedRevision is what an act came to.
type simulatedRevision struct {
	act     int64
	outcome state.Outcome
	reason  string
	version *version // that it deployed, or nil
	served  bool     // the version answered everything
	cost    money.Amount
}

// begin puts the first version into service.
func (s *simulation) begin(ctx context.Context) error {
	s.measured = map[string][]state.Measurement{}
	v, err := s.champion(ctx)
	if err != nil {
		return err
	}
	s.revisions = []simulatedRevision{{outcome: state.Done, version: v}}
	s.spanFrom = s.first
	return s.put(1, s.o.From)
}

// put puts the version of a revision into service.
func (s *simulation) put(revision int, now time.Time) error {
	s.served, s.since, s.route = revision, now, nil
	s.revisions[revision-1].served = true
	s.list(s.inService(), now)
	return s.serve(now)
}

// list gives a version that answers for the first time its number.
func (s *simulation) list(v *version, now time.Time) {
	if v.number == 0 {
		v.number = len(s.out.Versions) + 1
		s.out.Versions = append(s.out.Versions, SimulatedVersion{Number: v.number, Of: v.of, Digest: v.digest, Since: now})
	}
}

func (s *simulation) inService() *version { return s.revisions[s.served-1].version }

// fail ends the simulation with an error: what fails here would fail again.
func (s *simulation) fail(err error) error {
	if s.err == nil {
		s.err = err
	}
	s.cancel()
	return err
}

// Look implements [control.Engine].
func (s *simulation) Look(context.Context) (*control.Sight, error) {
	sight := &control.Sight{System: s.system.Name, Revision: len(s.revisions)}
	for _, id := range slices.Sorted(maps.Keys(s.monitors)) {
		m := control.Monitor{Unit: id, Every: s.monitors[id].Monitor.Every}
		if last := s.measured[id]; len(last) > 0 {
			m.Last = last[0].At
		}
		sight.Monitors = append(sight.Monitors, m)
	}
	l := control.Loop{Unit: s.loop.ID}
	if len(s.loop.Loop.Judge) > 0 {
		l.Judges = []string{s.service}
	}
	sight.Loops = []control.Loop{l}
	if s.route != nil {
		d, err := s.nextStep()
		if err != nil {
			return nil, s.fail(err)
		}
		sight.Releases = []control.Release{{
			Unit: s.service, Due: d.Act != planner.ReleaseWait && d.Act != planner.ReleaseHold, Next: d.Act == planner.ReleaseNext || d.Act == planner.ReleaseFinish,
			Waits: d.Reason, Until: d.Until,
		}}
	}
	return sight, nil
}

// policy is how new versions are released, or nil if that is at once.
func (s *simulation) policy() *ir.Release { return s.system.Unit(s.service).Release }

// nextStep decides about the release in progress. Nothing recorded says that a challenger would
// have failed or been slow.
func (s *simulation) nextStep() (planner.ReleaseDecision, error) {
	now := s.clock.Now()
	n, err := s.count(s.route.Since, now)
	if err != nil {
		return planner.ReleaseDecision{}, err
	}
	champion, challenger := s.route.Champion(), s.route.Challenger()
	answered := n * int64(challenger.Weight) / 100
	shadows := int64(float64(n-answered) * challenger.Shadow)
	return planner.DecideRelease(*s.policy(), *s.route, &step.Observed{Serial: s.route.Serial, Versions: map[string]step.Observation{
		champion.Name: {Requests: n - answered}, challenger.Name: {Requests: answered + shadows, Shadows: shadows},
	}}, now), nil
}

// Step implements [control.Engine].
func (s *simulation) Step(_ context.Context, unit string) ([]control.Acted, error) {
	d, err := s.nextStep()
	if err != nil {
		return nil, s.fail(err)
	}
	now, challenger := s.clock.Now(), s.route.Challenger()
	text := fmt.Sprintf("%s %d %%: %s", challenger.Name, d.Weight, d.Reason)
	switch d.Act {
	case planner.ReleaseNext:
		s.route = planner.Advanced(*s.policy(), s.route, d.Weight, now, d.Reason)
		err = s.serve(now)
	case planner.ReleaseFinish:
		text = fmt.Sprintf("%s answers everything: %s", challenger.Name, d.Reason)
		err = s.put(challenger.Revision, now)
	case planner.ReleaseAbort:
		text = fmt.Sprintf("%s was rejected: %s", challenger.Name, d.Reason)
		s.route = nil
		err = s.serve(now)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, s.fail(err)
	}
	s.out.Acts = append(s.out.Acts, SimulatedAct{At: now, Act: LoopStep, Reason: text, Version: s.inService().number})
	return []control.Acted{{Units: []string{unit}, Message: text}}, nil
}

// Measure implements [control.Engine].
func (s *simulation) Measure(ctx context.Context, monitor string, now time.Time) (string, error) {
	u := s.monitors[monitor]
	q := windowAt(u.Monitor, now)
	q.Log = s.log()
	answering := s.inService()
	if s.route != nil { // as after an apply: the monitor compares with the rows of the newest version
		answering = s.revisions[s.route.Challenger().Revision-1].version
	}
	if err := s.measuredFor(ctx, u, answering, &q); err != nil {
		return "", s.fail(err)
	}
	a, err := s.duck.measure(&q)
	if err != nil {
		return "", s.fail(fmt.Errorf("measure %s: %w", monitor, err))
	}
	m := measurement(u, q, a)
	s.alerted(m)
	s.measured[monitor] = append([]state.Measurement{m}, s.measured[monitor]...)
	s.out.Measured[m.Verdict]++
	return m.Verdict, nil
}

// measuredFor finds what a question about a version is about.
func (s *simulation) measuredFor(ctx context.Context, u *ir.Unit, v *version, q *window.Question) (err error) {
	for _, in := range u.Inputs {
		switch in.Port {
		case ir.MonitorReference:
			q.Reference, err = v.reference(ctx, in)
		case ir.MonitorLabels:
			q.Labels, err = s.labels(ctx, u, in)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// labels returns all labels that are recorded. The question says when it is, and so which are known.
func (s *simulation) labels(ctx context.Context, u *ir.Unit, in ir.Input) (string, error) {
	run, ok := s.deployed.runs[in.Unit]
	if !ok {
		return "", s.refused("%s needs the labels of %s, which were never made: run tenon apply first", u.ID, in.Unit)
	}
	return s.table(ctx, in, run.Outputs[in.From].Digest)
}

// alerted notes an alert. Alerts that follow each other and are about the same version are one.
func (s *simulation) alerted(m state.Measurement) {
	if m.Verdict != string(measure.Alert) {
		return
	}
	number := s.inService().number
	for i := range slices.Backward(s.out.Alerts) {
		a := &s.out.Alerts[i]
		if a.Monitor != m.Monitor {
			continue
		}
		if last := s.measured[m.Monitor]; a.Version == number && len(last) > 0 && last[0].Verdict == string(measure.Alert) {
			a.Last, a.Count = m.At, a.Count+1
			return
		}
		break
	}
	s.out.Alerts = append(s.out.Alerts, SimulatedAlert{Monitor: m.Monitor, At: m.At, Last: m.At, Count: 1, Version: number, Reason: m.Reason, begin: m.Begin})
}

// Decide implements [control.Engine].
func (s *simulation) Decide(_ context.Context, _ string, now time.Time) (planner.LoopDecision, error) {
	st := planner.LoopState{Acts: s.acts, Since: s.o.From, Measurements: s.measured, Cost: planner.LoopCost(s.acts)}
	st.Serving = &planner.LoopVersion{Revision: s.served, Since: s.since}
	for i := range s.revisions[:s.served-1] {
		if r := s.revisions[i]; r.served && r.version.digest != s.inService().digest {
			st.Serving.Before = i + 1
		}
	}
	if s.route != nil {
		c := s.route.Challenger()
		st.Releasing = &planner.LoopRelease{Unit: s.service, Revision: c.Revision, Weight: c.Weight, Since: s.route.Since}
	}
	if open := planner.OpenAct(s.acts); open != nil {
		for i, r := range s.revisions {
			if r.act == open.Number {
				st.Ended = &planner.LoopRevision{Number: i + 1, Outcome: r.outcome, Reason: r.reason, Cost: r.cost}
			}
		}
	}
	return planner.DecideLoop(*s.loop.Loop, st, now), nil
}

// Record implements [control.Engine].
func (s *simulation) Record(_ context.Context, loop string, d planner.LoopDecision, now time.Time) (int64, error) {
	a := d.Entry(loop, now)
	a.Number = int64(len(s.acts) + 1)
	s.acts = append([]state.LoopAct{a}, s.acts...)
	switch a.Act {
	case state.LoopRetrained, state.LoopRolledBack, state.LoopFailed:
		s.outcome(a)
	default:
		s.out.Acts = append(s.out.Acts, SimulatedAct{At: now, Act: a.Act, Reason: a.Reason, Cause: a.Cause})
	}
	return a.Number, nil
}

// outcome notes how the last training or rollback ended.
func (s *simulation) outcome(end state.LoopAct) {
	for i := range slices.Backward(s.out.Acts) {
		a := &s.out.Acts[i]
		if a.Act != state.LoopRetrain && a.Act != state.LoopRollback {
			continue
		}
		if end.Act == state.LoopFailed {
			a.Outcome = "failed: " + end.Reason
		} else if a.Outcome == "" {
			a.Outcome = end.Reason
		}
		return
	}
}

// CarryOut implements [control.Engine].
func (s *simulation) CarryOut(ctx context.Context, _ string, number int64, d planner.LoopDecision) (done control.Acted, err error) {
	if d.Act == state.LoopRollback {
		done, err = s.rollBack(number, d)
	} else {
		done, err = s.retrain(ctx, number)
	}
	if err != nil {
		err = s.fail(err)
	}
	return done, err
}

// rollBack goes back to a revision, or ends the release in progress.
func (s *simulation) rollBack(number int64, d planner.LoopDecision) (control.Acted, error) {
	now, to := s.clock.Now(), s.inService()
	if d.Detail.Abort == "" {
		to = s.revisions[d.Detail.Back-1].version
	}
	s.revisions = append(s.revisions, simulatedRevision{act: number, outcome: state.Done, version: to})
	out := &s.out.Acts[len(s.out.Acts)-1]
	out.Outcome, out.Version = fmt.Sprintf("version %d answers everything", to.number), to.number
	done := control.Acted{Revision: len(s.revisions)}
	if d.Detail.Abort != "" { // the champion answers since it did, and the training counts as taken back
		s.route = nil
		s.revisions[len(s.revisions)-1].version = nil
		return done, s.serve(now)
	}
	return done, s.put(done.Revision, now)
}

// retrain trains the model, or finds a recorded version instead.
func (s *simulation) retrain(ctx context.Context, number int64) (control.Acted, error) {
	out := &s.out.Acts[len(s.out.Acts)-1]
	v, training, err := s.obtain(ctx, s.clock.Now())
	if err != nil {
		return control.Acted{}, err
	}
	s.clock.advance(s.o.Takes)
	all := &s.out.Trainings
	all.Took, all.Cost = all.Took+training.took, all.Cost.Plus(training.cost)
	s.revisions = append(s.revisions, simulatedRevision{act: number, outcome: state.Done, cost: training.cost})
	done := control.Acted{Revision: len(s.revisions)}
	switch {
	case training.failed != "":
		r := &s.revisions[len(s.revisions)-1]
		r.outcome, r.reason = state.Failure, training.failed
		all.Failed++
		return done, nil
	case v == nil:
		all.Done, all.Missing = all.Done+1, all.Missing+1
		out.Missing, out.Outcome = true, "it would have been trained; no newer version is recorded that was, so the version in service stays"
		return done, nil
	}
	all.Done++
	return done, s.release(v, done.Revision, out)
}

// release begins to release a version, or puts it into service at once.
func (s *simulation) release(v *version, revision int, out *SimulatedAct) error {
	now, policy := s.clock.Now(), s.policy()
	s.revisions[revision-1].version = v
	if v.digest == s.inService().digest {
		out.Outcome = "the same model as in service"
		return s.put(revision, now)
	}
	s.list(v, now)
	out.Version, out.Outcome = v.number, fmt.Sprintf("version %d, %s", v.number, v.of)
	if policy == nil {
		return s.put(revision, now)
	}
	weight, shadow := planner.FirstWeight(*policy)
	old := s.inService()
	s.route = &state.Route{Since: now, Serial: 1, Versions: []state.RouteVersion{
		{Name: versionName(old), Key: old.digest, Revision: s.served, Weight: 100 - weight},
		{Name: versionName(v), Key: v.digest, Revision: revision, Weight: weight, Shadow: shadow},
	}}
	out.Outcome += fmt.Sprintf(", released from %d %% on", weight)
	return s.serve(now)
}

func versionName(v *version) string { return fmt.Sprintf("version %d", v.number) }

// Continue implements [control.Engine].
func (s *simulation) Continue(context.Context) (control.Acted, error) { return control.Acted{}, nil }

// Mend implements [control.Engine].
func (s *simulation) Mend(context.Context, []string, string) (control.Acted, error) {
	return control.Acted{}, nil
}

// Read implements [control.Engine]. Loops that wait for rows are refused.
func (s *simulation) Read(context.Context, string, string) (control.Acted, error) {
	return control.Acted{}, nil
}

// Controller implements [control.Engine].
func (s *simulation) Controller(context.Context) (*state.Controller, error) { return nil, nil }

// SetController implements [control.Engine].
func (s *simulation) SetController(context.Context, *state.Controller, *state.Controller) error {
	return nil
}

// EndController implements [control.Engine].
func (s *simulation) EndController(context.Context, string) error { return nil }

// Close implements [control.Engine]. The workspace stays open.
func (s *simulation) Close() error { return nil }

// log is the folder of the log so far.
func (s *simulation) log() string { return filepath.Join(s.dir, "log") }
