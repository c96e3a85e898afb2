package project

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// Controlled returns the engine of a controller for the applied system. Closing it closes the
// workspace. It uses what was applied last, and never the sources in the folder.
func (w *Workspace) Controlled(o ApplyOptions) control.Engine { return w.controlled(o) }

func (w *Workspace) controlled(o ApplyOptions) *controlled {
	w.measurer = new(measurer)
	return &controlled{Workspace: w, apply: o, repairs: map[int]repair{}, units: map[string]appliedUnit{}, set: map[string]time.Time{}}
}

// A controlled workspace remembers only what it could read again.
type controlled struct {
	*Workspace
	apply   ApplyOptions
	repairs map[int]repair // by revision
	units   map[string]appliedUnit
	set     map[string]time.Time // when the route of a service was last made effective again
	// inspector looks at what is deployed. It keeps its connections.
	inspector executors.Executor
	brought   bool                    // the records are here that others have written
	session   atomic.Pointer[Session] // while it has the lock
}

// A repair is a revision that mended units.
type repair struct {
	units []string
	ago   time.Duration // when it was first seen, never negative
	seen  time.Time     // with a monotonic reading
}

// An appliedUnit is a unit as it was applied by a run.
type appliedUnit struct {
	run  int64
	unit *ir.Unit
}

const (
	// inspections is how many services are inspected at once, and inspectTime how long one may take.
	inspections = 16
	inspectTime = 5 * time.Second
	// recent is how many revisions are searched for repairs: those of more than an hour of repairs.
	recent = 50
)

func (c *controlled) Controller(ctx context.Context) (*state.Controller, error) {
	return c.store.Controller(ctx)
}

func (c *controlled) SetController(ctx context.Context, self, over *state.Controller) error {
	return c.store.SetController(ctx, self, over)
}

func (c *controlled) EndController(ctx context.Context, id string) error {
	return c.store.EndController(ctx, id)
}

// Look implements [control.Engine].
func (c *controlled) Look(ctx context.Context) (*control.Sight, error) {
	revisions, err := c.store.Revisions(ctx, recent)
	if err != nil {
		return nil, err
	}
	s := &control.Sight{}
	if len(revisions) == 0 {
		s.Rests = "nothing has been applied yet"
		return s, nil
	}
	last := revisions[0]
	s.System, s.Revision = last.System, last.Number
	current, _, err := c.now(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.watched(ctx, s, current); err != nil {
		return nil, err
	}
	if s.Held, err = c.store.Holder(ctx); err != nil || s.Held != nil {
		return s, err
	}
	switch {
	case last.Act == state.Destroy && last.Outcome == state.Started:
		s.Rests = "a destroy was killed: run tenon destroy to complete it"
		return s, nil
	case last.Act == state.Destroy:
		s.Rests = fmt.Sprintf("revision %d destroyed everything", last.Number)
		return s, nil
	}
	if s.Killed, err = c.killed(ctx, last); err != nil {
		return nil, err
	}
	if s.Mended, err = c.mended(ctx, revisions); err != nil {
		return nil, err
	}
	if err := c.inspect(ctx, s, current); err != nil {
		return nil, err
	}
	s.Releases, err = c.releases(ctx)
	return s, err
}

// killed says what the last revision did when it was killed, if it can be continued: repairs and steps of
// releases are decided again, and a detached apply continues by itself.
func (c *controlled) killed(ctx context.Context, last state.Revision) (string, error) {
	if last.Outcome != state.Started || last.Act != state.Apply && last.Act != state.Rollback {
		return "", nil
	}
	if cause, err := c.causeOf(ctx, last); cause != nil || err != nil {
		return "", err // a loop continues it
	}
	d, err := c.detachedIn(ctx, last)
	if d != nil || err != nil && !c.unshared(err) {
		return "", err
	}
	return fmt.Sprintf("revision %d, which was killed", last.Number), nil
}

// mended lists the repairs of units, newest first.
func (c *controlled) mended(ctx context.Context, revisions []state.Revision) (all []planner.Mended, err error) {
	now := time.Now()
	for _, r := range revisions {
		if r.Act != state.Repair {
			continue
		}
		m, ok := c.repairs[r.Number]
		if !ok {
			m = repair{ago: max(now.Round(0).Sub(r.Started), 0), seen: now}
			p, err := c.recordedPlan(ctx, &r)
			if err != nil && !errors.Is(err, artifact.ErrMissing) { // removed by hand: no more than a pause is lost
				return nil, err
			}
			for _, i := range p.Items {
				m.units = append(m.units, i.Unit)
			}
			c.repairs[r.Number] = m
		}
		for _, u := range m.units {
			all = append(all, planner.Mended{Unit: u, Ago: m.ago + now.Sub(m.seen)})
		}
	}
	return all, nil
}

// watched lists monitors and loops.
func (c *controlled) watched(ctx context.Context, s *control.Sight, current map[string]state.Current) error {
	for unit, cur := range current {
		if cur.Kind != ir.Record {
			continue
		}
		u, err := c.appliedAt(ctx, cur)
		if err != nil {
			return err
		}
		if u.Monitor != nil {
			m := control.Monitor{Unit: unit, Every: u.Monitor.Every}
			last, err := c.store.LastMeasurement(ctx, unit)
			if err != nil {
				return err
			}
			if last != nil {
				m.Last = last.At
			}
			s.Monitors = append(s.Monitors, m)
		}
		if u.Loop != nil {
			l := control.Loop{Unit: unit}
			if len(u.Loop.Judge) > 0 {
				l.Judges = u.Loop.Deployments
			}
			for _, t := range u.Loop.When {
				if t.Data != "" {
					l.Tables = append(l.Tables, control.Table{Unit: t.Data, Every: t.Every})
				}
			}
			s.Loops = append(s.Loops, l)
		}
	}
	slices.SortFunc(s.Monitors, func(a, b control.Monitor) int { return strings.Compare(a.Unit, b.Unit) })
	slices.SortFunc(s.Loops, func(a, b control.Loop) int { return strings.Compare(a.Unit, b.Unit) })
	return nil
}

// inspect looks at services and records.
func (c *controlled) inspect(ctx context.Context, s *control.Sight, current map[string]state.Current) error {
	if c.inspector == nil {
		x, err := route(anyTarget, c.setupApart(), nil)
		if err != nil {
			return err
		}
		c.inspector = x
	}
	if !c.brought {
		if err := c.bring(ctx); err != nil {
			return err
		}
		c.brought = true
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, inspections)
	for unit, cur := range current {
		if cur.Handle == nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			limited, cancel := context.WithTimeout(ctx, inspectTime)
			defer cancel()
			st, err := c.inspector.Inspect(limited, *cur.Handle)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.Unknown = append(s.Unknown, fmt.Sprintf("look at %s: %v", unit, err))
			} else if why := planner.Dead(cur.Kind, st); why != "" {
				s.Faults = append(s.Faults, planner.Fault{Unit: unit, Why: why, Silent: st.Phase == state.Running})
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	recorders := c.records(nil)
	for unit, cur := range current {
		if cur.Kind != ir.Record {
			continue
		}
		u, err := c.appliedAt(ctx, cur)
		if err != nil {
			return err
		}
		if why := recorders.Lost(u); why != "" {
			s.Faults = append(s.Faults, planner.Fault{Unit: unit, Why: why})
		}
	}
	slices.SortFunc(s.Faults, func(a, b planner.Fault) int { return strings.Compare(a.Unit, b.Unit) })
	slices.Sort(s.Unknown)
	return nil
}

// appliedAt returns a unit as it was applied, which it reads once for each time.
func (c *controlled) appliedAt(ctx context.Context, cur state.Current) (*ir.Unit, error) {
	if a := c.units[cur.Unit]; a.unit != nil && a.run == cur.Run {
		return a.unit, nil
	}
	u, err := c.store.Unit(ctx, cur.Unit)
	if err == nil {
		c.units[cur.Unit] = appliedUnit{cur.Run, u}
	}
	return u, err
}

// releases lists the releases in progress.
func (c *controlled) releases(ctx context.Context) (all []control.Release, err error) {
	found, err := c.Releases(ctx, "")
	for i := range found {
		r := &found[i]
		if !r.InProgress() && !r.unsettled() {
			continue
		}
		r.repeated = c.set[r.Unit]
		seen := control.Release{Next: r.Next != nil && (r.Next.Act == planner.ReleaseNext || r.Next.Act == planner.ReleaseFinish), Unit: r.Unit, Due: r.due() || r.stale()}
		if r.Next != nil {
			seen.Waits, seen.Until = r.Next.Reason, r.Next.Until
		}
		all = append(all, seen)
	}
	return all, err
}

// Continue implements [control.Engine].
func (c *controlled) Continue(ctx context.Context) (done control.Acted, err error) {
	err = c.locked(ctx, func(s *Session, last *state.Revision) error {
		if what, err := c.killed(ctx, *last); what == "" || err != nil {
			return err
		}
		p, err := c.begun(ctx, last)
		if err != nil {
			return err
		}
		if err := c.CheckData(ctx, p); err != nil {
			return fmt.Errorf("%w: run tenon apply", err)
		}
		if _, err := s.Apply(ctx, p, c.apply); err != nil {
			return err
		}
		done = control.Acted{Revision: last.Number, Message: "continued what had been killed"}
		return nil
	})
	return done, err
}

// begun returns the plan of a revision that was begun, to continue it with the data files that are here.
func (c *controlled) begun(ctx context.Context, r *state.Revision) (*planner.Plan, error) {
	p, err := c.recordedPlan(ctx, r)
	if err != nil {
		return nil, err
	}
	if p.Dir, err = filepath.Abs(c.Workspace.set.Dir); err != nil {
		return nil, fmt.Errorf("find the system: %w", err)
	}
	p.Blobs = c.code(ctx, planned(p))
	return p, nil
}

// planned returns the units of a plan.
func planned(p *planner.Plan) (all []ir.Unit) {
	for _, i := range p.Items {
		if u := p.Unit(&i); u != nil {
			all = append(all, *u)
		}
	}
	return all
}

// Mend implements [control.Engine].
func (c *controlled) Mend(ctx context.Context, units []string, reason string) (done control.Acted, err error) {
	err = c.locked(ctx, func(s *Session, last *state.Revision) error {
		if last.Act == state.Destroy {
			return nil
		}
		sys, err := c.system(ctx, last)
		if err != nil {
			return err
		}
		in, err := c.inputs(ctx, sys)
		if err != nil {
			return err
		}
		if in.Images, units, err = c.imagesOf(ctx, sys, units); err != nil {
			return err
		}
		p, err := planner.PlanMend(ctx, sys, units, in)
		if err != nil || len(p.Items) == 0 {
			return err
		}
		p.Cause, p.Blobs = &planner.Cause{Act: string(state.Repair), Reason: reason}, c.code(ctx, planned(p))
		result, err := s.mend(ctx, p, c.apply, executors.Mend)
		if result != nil {
			done.Revision = result.Revision
		}
		for _, i := range p.Items {
			done.Units = append(done.Units, i.Unit)
		}
		return err
	})
	return done, err
}

// imagesOf returns the images in which units were deployed, and which of the units these are: those of
// revisions that resolved the same name differently are for another time.
func (c *controlled) imagesOf(ctx context.Context, sys *ir.System, units []string) (images map[string]string, of []string, err error) {
	if !sys.RunsImages() {
		return nil, units, nil
	}
	declared, err := c.declared(ctx)
	if err != nil {
		return nil, nil, err
	}
	current, err := c.store.Current(ctx)
	if err != nil {
		return nil, nil, err
	}
	images = map[string]string{}
	for _, u := range units {
		r, err := c.store.Revision(ctx, current[u].Revision)
		if errors.Is(err, state.ErrNotFound) { // it was collected
			r, err = declared, nil
		}
		if err != nil {
			return nil, nil, err
		}
		p, err := c.recordedPlan(ctx, r)
		if err != nil {
			return nil, nil, err
		}
		same := true
		for ref, digest := range p.Images {
			same = same && (images[ref] == "" || images[ref] == digest)
		}
		if same {
			maps.Copy(images, p.Images)
			of = append(of, u)
		}
	}
	return images, of, nil
}

// mend executes a plan that deploys nothing new, with [executors.Mend] or [executors.Refresh]. It is permitted like a
// step of a release: what it makes was approved when it was applied.
func (s *Session) mend(ctx context.Context, p *planner.Plan, o ApplyOptions, execute func(context.Context, *planner.Plan, executors.Options) (*executors.Result, error)) (*executors.Result, error) {
	permitted, err := s.permitStep(ctx)
	if err != nil {
		return nil, err
	}
	setup, err := s.setup(ctx, p.System.Name)
	if err != nil {
		return nil, err
	}
	opts, err := s.options(p.System.Target, setup, o)
	if err != nil {
		return nil, err
	}
	opts.Protection = permitted
	return execute(ctx, p, opts)
}

// Step implements [control.Engine].
func (c *controlled) Step(ctx context.Context, unit string) (done []control.Acted, err error) {
	now, err := c.follow(ctx, Release{Unit: unit, repeated: c.set[unit]}, FollowOptions{Apply: c.apply, Command: RunCommand, Changed: func(r ReleaseChange) {
		text := fmt.Sprintf("%s %d %%: %s", r.Name, r.Weight, r.Reason)
		switch r.Act {
		case planner.ReleaseFinish:
			text = fmt.Sprintf("%s is the champion: %s", r.Name, r.Reason)
		case planner.ReleaseAbort:
			text = fmt.Sprintf("%s was rejected: %s", r.Name, r.Reason)
		}
		done = append(done, control.Acted{Units: []string{unit}, Revision: r.Revision, Message: text})
	}})
	if err == nil {
		c.set[unit] = now.repeated
	}
	return done, err
}

// locked calls f with the lock, and the last revision as it is then.
func (c *controlled) locked(ctx context.Context, f func(s *Session, last *state.Revision) error) (err error) {
	s, err := c.Lock(ctx, RunCommand, 0)
	if err != nil {
		return err
	}
	defer func() {
		if releaseErr := s.Release(ctx); err == nil {
			err = releaseErr
		}
	}()
	c.session.Store(s)
	defer c.session.Store(nil)
	last, err := c.store.Revisions(ctx, 1)
	if err != nil || len(last) == 0 {
		return err
	}
	return f(s, &last[0])
}
