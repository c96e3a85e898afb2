package aws

import (
	"context"
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

var _ executors.VersionRunner = (*Executor)(nil)

// A releaser is a backend whose services run several versions.
type releaser interface {
	// setRoute makes the route of a service effective. It is idempotent.
	setRoute(ctx context.Context, c *cloud, st *taskState, r step.Route) error
	// observe returns what the service counted since its route is in effect, or nil if nothing is known.
	observe(ctx context.Context, c *cloud, st *taskState) (*step.Observed, error)
}

// SetRoute makes the route of a service effective.
func (e *Executor) SetRoute(ctx context.Context, h state.Handle, r step.Route) error {
	return e.released(ctx, h, "change the route of ", func(b releaser, c *cloud, st *taskState) error { return b.setRoute(ctx, c, st, r) })
}

// Observe returns what a service counted since its route is in effect, or nil if nothing is known.
func (e *Executor) Observe(ctx context.Context, h state.Handle) (seen *step.Observed, err error) {
	err = e.released(ctx, h, "observe ", func(b releaser, c *cloud, st *taskState) (err error) {
		seen, err = b.observe(ctx, c, st)
		return err
	})
	return seen, err
}

func (e *Executor) released(ctx context.Context, h state.Handle, what string, do func(releaser, *cloud, *taskState) error) error {
	st, c, err := e.open(ctx, h)
	if err != nil {
		return err
	}
	b, ok := e.backend(st.Place).(releaser)
	if !ok {
		return fmt.Errorf("%s%s: it runs one version at a time", what, st.Unit)
	}
	if err := do(b, c, &st); err != nil {
		return fmt.Errorf("%s%s: %w", what, st.Unit, err)
	}
	return nil
}

// release reports what a release cannot have where a platform sends requests to one of two versions, and nothing has
// both. noShadow says why nothing computes what the other one would answer.
func (c *checks) release(r *ir.Release, platform, noShadow string) {
	if r == nil {
		return
	}
	if r.By != "" {
		c.Fault("release.by", "remove by", "%s chooses the version of each request by chance", platform)
	}
	if r.Shadow > 0 {
		c.Fault("release.shadow", "remove shadow", "%s", noShadow)
	}
	if r.Judge.Disagreement != nil {
		c.Fault("release.judge.disagreement", "remove disagreement", "%s sends a request to one version, so nothing compares them", platform)
	}
}
