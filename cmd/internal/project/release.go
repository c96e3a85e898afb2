package project

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A Release is the state of the release of a service.
type Release struct {
	Unit     string           `json:"unit"`
	Versions []ReleaseVersion `json:"versions"` // the champion and the challenger; none if none is in progress
	Since    time.Time        `json:"since,omitzero"`
	Paused   bool             `json:"paused,omitempty"`
	Reason   string           `json:"reason,omitempty"` // of the present weights
	Policy   *ir.Release      `json:"policy,omitempty"`
	// Next is what happens next, as far as it is known.
	Next     *planner.ReleaseDecision `json:"next,omitempty"`
	Rejected *state.Rejected          `json:"rejected,omitempty"` // the last challenger, if it was
	Segments []step.Segment           `json:"segments,omitempty"`
	Examples []step.Example           `json:"examples,omitempty"`

	current state.Current
	unit    *ir.Unit
	seen    *step.Observed
	// repeated is when its route was last made effective again, because the service was silent.
	repeated time.Time
}

// A ReleaseVersion is a version in a release.
type ReleaseVersion struct {
	Name     string  `json:"name"`
	Role     string  `json:"role"` // "champion" or "challenger"
	Key      string  `json:"key"`
	Revision int     `json:"revision"` // that deployed it
	Weight   int     `json:"weight"`
	Shadow   float64 `json:"shadow,omitempty"`
	// What it did since it has this weight.
	step.Observation
	P99 time.Duration `json:"p99_ns,omitempty"`
}

// InProgress reports whether two versions answer.
func (r *Release) InProgress() bool { return r.current.Route.Releasing() }

// unsettled reports whether the release is decided, and its end was not completed, because the
// process that ended it was killed.
func (r *Release) unsettled() bool {
	return r.current.Route.Ending() || r.current.Route.Finishing()
}

// Challenger returns the version that is released.
func (r *Release) Challenger() ReleaseVersion { return r.Versions[1] }

// Releases returns the releases that are in progress, and those whose last version was rejected,
// by unit. With a name it is the one of that deployment.
func (w *Workspace) Releases(ctx context.Context, name string) ([]Release, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	if name != "" {
		s, err := w.deployed(ctx)
		if err != nil {
			return nil, err
		}
		if _, units, err := s.named(name); err != nil {
			return nil, err
		} else {
			named := units
			for unit := range current {
				if !slices.Contains(named, unit) || current[unit].Kind != ir.Service {
					delete(current, unit)
				}
			}
		}
	}
	all := []Release{}
	for _, c := range current {
		if c.Route == nil && name == "" || c.Kind != ir.Service {
			continue
		}
		r, err := w.releaseOf(ctx, c)
		if err != nil {
			return nil, err
		}
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Release) int { return strings.Compare(a.Unit, b.Unit) })
	return all, nil
}

// releaseOf looks at a service.
func (w *Workspace) releaseOf(ctx context.Context, c state.Current) (*Release, error) {
	r := &Release{Unit: c.Unit, Versions: []ReleaseVersion{}, current: c}
	var err error
	if r.unit, err = w.store.Unit(ctx, c.Unit); err != nil {
		return nil, err
	}
	r.Policy = r.unit.Release
	if c.Route == nil {
		return r, nil
	}
	r.Rejected = c.Route.Rejected
	if len(c.Route.Versions) == 0 {
		return r, nil
	}
	r.Since, r.Paused, r.Reason = c.Route.Since, c.Route.Paused, c.Route.Reason
	if c.Handle != nil {
		v, err := w.versions()
		if err != nil {
			return nil, err
		}
		if r.seen, err = v.Observe(ctx, *c.Handle); err != nil {
			r.seen = nil // the service writes it again each second
		}
	}
	for i, v := range c.Route.Versions {
		s := ReleaseVersion{Name: v.Name, Role: "champion", Key: v.Key, Revision: v.Revision, Weight: v.Weight, Shadow: v.Shadow}
		if i == 1 {
			s.Role = "challenger"
		}
		if r.seen != nil && r.seen.Serial == c.Route.Serial {
			s.Observation = r.seen.Versions[v.Name]
			s.P99 = planner.P99(s.Latency)
		}
		r.Versions = append(r.Versions, s)
	}
	if r.seen != nil {
		r.Segments, r.Examples = r.seen.Segments, r.seen.Examples
	}
	if r.InProgress() && r.Policy != nil {
		d := planner.DecideRelease(*r.Policy, *c.Route, r.seen, time.Now())
		r.Next = &d
	}
	return r, nil
}

// versions returns what sets and observes routes.
func (w *Workspace) versions() (executors.VersionRunner, error) {
	x, err := route(anyTarget, w.setupApart(), nil)
	if err != nil {
		return nil, err
	}
	return x.(executors.VersionRunner), nil
}

// release returns the only release, or that of a name. It has to be in progress.
func (w *Workspace) release(ctx context.Context, name string) (*Release, error) {
	all, err := w.Releases(ctx, name)
	if err != nil {
		return nil, err
	}
	var names []string
	var found *Release
	for i := range all {
		if all[i].InProgress() || all[i].unsettled() {
			names, found = append(names, all[i].Unit), &all[i]
		}
	}
	switch {
	case len(names) == 1:
		return found, nil
	case len(names) > 1:
		return nil, &RequestError{fmt.Errorf("name a deployment: %s", strings.Join(names, ", "))}
	case name != "":
		return nil, fmt.Errorf("no release of %s is in progress", name)
	}
	return nil, errors.New("no release is in progress")
}

// A ReleaseChange is a change of a release.
type ReleaseChange struct {
	Unit     string             `json:"unit"`
	Act      planner.ReleaseAct `json:"act"`
	Revision int                `json:"revision,omitempty"`
	Name     string             `json:"challenger"`
	Weight   int                `json:"weight"`
	Reason   string             `json:"reason"`
}

// Advance takes the step of a release that is due by itself, if there is one.
func (s *Session) Advance(ctx context.Context, name string, o ApplyOptions) (*ReleaseChange, error) {
	r, err := s.release(ctx, name)
	if err != nil {
		return nil, err
	}
	route := r.current.Route
	if r.unsettled() {
		return s.settle(ctx, r, o)
	}
	if r.seen == nil || r.seen.Serial < route.Serial {
		// An apply may have been killed after the route was recorded.
		if err := s.repeat(ctx, r); err != nil {
			return nil, err
		}
	}
	d := r.Next
	change := &ReleaseChange{Unit: r.Unit, Act: planner.ReleaseHold, Name: r.Challenger().Name, Weight: r.Challenger().Weight}
	if d == nil {
		return change, nil
	}
	change.Act, change.Reason = d.Act, d.Reason
	switch d.Act {
	case planner.ReleaseNext:
		return s.weigh(ctx, r, planner.Advanced(*r.Policy, route, d.Weight, time.Now(), d.Reason), o)
	case planner.ReleaseFinish:
		return s.weigh(ctx, r, planner.Finished(route, time.Now(), d.Reason), o)
	case planner.ReleaseAbort:
		return s.abort(ctx, r, rejection(r, d.Reason), o)
	}
	return change, nil
}

// settle completes the end of a release that is decided.
func (s *Session) settle(ctx context.Context, r *Release, o ApplyOptions) (*ReleaseChange, error) {
	route := r.current.Route
	if route.Ending() {
		return s.abort(ctx, r, *route.Rejected, o)
	}
	return s.weigh(ctx, r, route, o)
}

func rejection(r *Release, reason string) state.Rejected {
	return state.Rejected{Name: r.Challenger().Name, Key: r.Challenger().Key, Reason: reason}
}

// repeat makes the recorded route effective.
func (s *Session) repeat(ctx context.Context, r *Release) error {
	if r.current.Handle == nil {
		return nil
	}
	v, err := s.versions()
	if err != nil {
		return err
	}
	if err := s.lease.Check(ctx); err != nil {
		return err
	}
	return v.SetRoute(ctx, *r.current.Handle, executors.StepRoute(r.unit, r.current.Route))
}

// A ReleaseStep is a step of a release, as somebody saw it who decides on the next one.
type ReleaseStep struct {
	unit, key string // of the challenger
	weight    int
}

// Step returns the step at which a release is, for [Session.NextStep].
func (w *Workspace) Step(ctx context.Context, name string) (*ReleaseStep, error) {
	r, err := w.release(ctx, name)
	if err != nil {
		return nil, err
	}
	last := r.Versions[len(r.Versions)-1]
	return &ReleaseStep{r.Unit, last.Key, last.Weight}, nil
}

// At returns the same step with another weight in percent, which the caller believes it to have.
func (s ReleaseStep) At(weight int) *ReleaseStep {
	s.weight = weight
	return &s
}

// NextStep gives a challenger the weight of the step after from, or another one, whatever its
// judge says. to is 0 for the next step. It refuses if the release is not at from any more: who
// decided saw other figures.
func (s *Session) NextStep(ctx context.Context, name string, from ReleaseStep, to int, o ApplyOptions) (*ReleaseChange, error) {
	r, err := s.running(ctx, name)
	if err != nil {
		return nil, err
	}
	weight := r.Challenger().Weight
	switch now := r.Challenger(); {
	case r.Unit != from.unit || now.Key != from.key:
		return nil, fmt.Errorf("another version is released meanwhile: %s of %s has %d %%: see tenon release status", now.Name, r.Unit, weight)
	case weight != from.weight:
		return nil, fmt.Errorf("the release of %s has moved on: %s has %d %%, and not %d %% any more: see tenon release status, and run tenon release next again",
			r.Unit, now.Name, weight, from.weight)
	}
	if r.Policy == nil {
		return nil, fmt.Errorf("%s declares no release: tenon apply ends it", r.Unit)
	}
	if to == 0 {
		i := slices.IndexFunc(r.Policy.Steps, func(s int) bool { return s > weight })
		switch {
		case i >= 0:
			to = r.Policy.Steps[i]
		case weight == 100:
			return s.weigh(ctx, r, planner.Finished(r.current.Route, time.Now(), "decided by hand"), o)
		default:
			return nil, fmt.Errorf("%d %% is the last step of %s: name another weight with --to, such as --to 100", weight, r.Unit)
		}
	}
	if to == weight {
		return nil, fmt.Errorf("%s has %d %% of the requests already", r.Challenger().Name, weight)
	}
	return s.weigh(ctx, r, planner.Advanced(*r.Policy, r.current.Route, to, time.Now(), "decided by hand"), o)
}

// running returns a release in progress whose challenger was not rejected.
func (s *Session) running(ctx context.Context, name string) (*Release, error) {
	r, err := s.release(ctx, name)
	switch {
	case err != nil || r.InProgress():
	case r.current.Route.Finishing():
		err = fmt.Errorf("%s is the champion already: tenon release run completes its release", r.current.Route.Versions[0].Name)
	default:
		err = fmt.Errorf("%s was rejected: %s", r.Rejected.Name, r.Rejected.Reason)
	}
	return r, err
}

// Pause keeps a release as it is until it is resumed.
func (s *Session) Pause(ctx context.Context, name string, pause bool, o ApplyOptions) (*ReleaseChange, error) {
	r, err := s.running(ctx, name)
	if err != nil {
		return nil, err
	}
	to := r.current.Route.Clone()
	if to.Paused == pause {
		return nil, fmt.Errorf("the release of %s is %s", r.Unit, map[bool]string{true: "paused already", false: "not paused"}[pause])
	}
	// A new serial, so that figures begin again: the pause may have been for a reason.
	to.Paused, to.Serial, to.Reason = pause, to.Serial+1, map[bool]string{true: "paused", false: "resumed"}[pause]
	if !pause {
		to.Since = time.Now()
	}
	return s.weigh(ctx, r, to, o)
}

// Abort rejects the challenger of a release.
func (s *Session) Abort(ctx context.Context, name string, o ApplyOptions) (*ReleaseChange, error) {
	r, err := s.release(ctx, name)
	if err != nil {
		return nil, err
	}
	switch route := r.current.Route; {
	case route.Ending():
		return s.abort(ctx, r, *route.Rejected, o)
	case route.Finishing():
		return nil, fmt.Errorf("%s is the champion already: tenon rollback restores the version before", route.Versions[0].Name)
	}
	return s.abort(ctx, r, rejection(r, "aborted by hand"), o)
}

// Retry forgets that the last challenger was rejected, so that the next apply releases it again.
func (s *Session) Retry(ctx context.Context, name string) (*state.Rejected, error) {
	all, err := s.Releases(ctx, name)
	if err != nil {
		return nil, err
	}
	var found []Release
	for _, r := range all {
		if r.Rejected != nil && !r.current.Route.Ending() {
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 0:
		return nil, errors.New("no version was rejected")
	case len(found) > 1:
		return nil, &RequestError{errors.New("name a deployment: several have a rejected version")}
	}
	return found[0].Rejected, s.lease.SetRoute(ctx, found[0].Unit, nil)
}

// weigh gives the versions of a service other weights, as a revision.
func (s *Session) weigh(ctx context.Context, r *Release, to *state.Route, o ApplyOptions) (*ReleaseChange, error) {
	p, opts, err := s.releasePlan(ctx, r, to, o)
	if err != nil {
		return nil, err
	}
	last := to.Versions[len(to.Versions)-1]
	change := &ReleaseChange{Unit: r.Unit, Act: planner.ReleaseNext, Name: last.Name, Weight: last.Weight, Reason: to.Reason}
	if to.Finishing() {
		change.Act = planner.ReleaseFinish
	}
	result, err := executors.Reroute(ctx, p, opts)
	if result != nil {
		change.Revision = result.Revision
	}
	return change, err
}

// abort rejects the challenger: the champion answers everything at once, and then runs alone.
func (s *Session) abort(ctx context.Context, r *Release, why state.Rejected, o ApplyOptions) (*ReleaseChange, error) {
	to := planner.Aborted(r.current.Route, time.Now(), why.Reason)
	to.Rejected = &why
	champion := r.current.Route.Champion()
	p, opts, err := s.releasePlan(ctx, r, to, o)
	if err != nil {
		return nil, err
	}
	change := &ReleaseChange{Unit: r.Unit, Act: planner.ReleaseAbort, Name: why.Name, Reason: why.Reason}
	result, err := executors.EndRelease(ctx, p, opts, champion.Revision)
	if result != nil {
		change.Revision = result.Revision
	}
	return change, err
}

// releasePlan returns the plan of a revision that changes the route of a service.
func (s *Session) releasePlan(ctx context.Context, r *Release, to *state.Route, o ApplyOptions) (*planner.Plan, executors.Options, error) {
	fail := func(err error) (*planner.Plan, executors.Options, error) { return nil, executors.Options{}, err }
	permitted, err := s.permitStep(ctx)
	if err != nil {
		return fail(err)
	}
	if err := s.artifacts.Look(ctx); err != nil {
		return fail(err)
	}
	last, err := s.store.Revisions(ctx, 1)
	if err != nil {
		return fail(err)
	}
	if len(last) == 0 {
		return fail(errNoRevision)
	}
	sys, err := s.system(ctx, &last[0])
	if err != nil {
		return fail(err)
	}
	meta, err := s.store.Meta(ctx)
	if err != nil {
		return fail(err)
	}
	dir, err := filepath.Abs(s.set.Dir)
	if err != nil {
		return fail(fmt.Errorf("find the system: %w", err))
	}
	p := planner.PlanRoute(sys, meta, r.unit, r.current, to)
	p.Created, p.Dir, p.Cause = time.Now().UTC(), dir, o.Cause
	if pinned := p.Items[0].Pinned; pinned != nil {
		p.Blobs = s.code(ctx, []ir.Unit{pinned.Unit})
	}
	setup, err := s.setup(ctx, sys.Name)
	if err != nil {
		return fail(err)
	}
	opts, err := s.options(sys.Target, setup, o)
	opts.Protection = permitted
	return p, opts, err
}
