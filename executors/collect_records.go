package executors

import (
	"context"
	"errors"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// records finds what is old in the records of monitors and loops.
func (c *Collection) records(ctx context.Context, envs []string, k Retention) (err error) {
	if k.Records <= 0 {
		return nil
	}
	now := c.o.Now()
	c.pruning.MeasuredBefore = now.Add(-k.Records)
	if c.Measurements, err = c.o.Store.OldMeasurements(ctx, c.pruning.MeasuredBefore); err != nil {
		return err
	}
	c.pruning.Acts = map[string]map[string][]int64{}
	for _, env := range envs {
		s := c.o.Store.In(env)
		loops, err := s.RecordedLoops(ctx)
		if err != nil {
			return err
		}
		deployed, err := c.deployedBy(ctx, s)
		if err != nil {
			return err
		}
		old := map[string][]int64{}
		for _, loop := range loops {
			acts, err := s.LoopActs(ctx, loop, time.Time{}, 0)
			if err != nil {
				return err
			}
			if loop == state.InfrastructureRecord {
				old[loop] = pruneInfrastructure(acts, now.Add(-k.Records))
				c.Acts += len(old[loop])
				continue
			}
			if state.IsNotices(loop) {
				old[loop] = planner.PruneNotices(acts, now, k.Records)
				c.Acts += len(old[loop])
				continue
			}
			var l ir.Loop // one that is not declared any more may be again
			if u, err := s.Unit(ctx, loop); err == nil && u.Loop != nil {
				l = *u.Loop
			} else if err != nil && !errors.Is(err, state.ErrNotFound) {
				return err
			}
			old[loop] = planner.PruneLoop(l, acts, now, k.Records, deployed)
			c.Acts += len(old[loop])
		}
		c.pruning.Acts[env] = old
	}
	return nil
}

// deployedBy returns whether a revision deployed what is deployed now, or is kept.
func (c *Collection) deployedBy(ctx context.Context, s *state.Store) (func(revision int) bool, error) {
	current, err := s.Current(ctx)
	if err != nil {
		return nil, err
	}
	by := map[int]bool{}
	for _, cur := range current {
		by[cur.Revision] = true
		if cur.Route != nil {
			for _, v := range cur.Route.Versions {
				by[v.Revision] = true
			}
		}
	}
	oldest := c.Oldest[s.Env()]
	return func(revision int) bool { return by[revision] || revision >= oldest }, nil
}

// pruneInfrastructure returns the versions of the infrastructure that are older than a time, except
// for the newest one, which is what exists. They come newest first.
func pruneInfrastructure(acts []state.LoopAct, before time.Time) (old []int64) {
	for i, a := range acts {
		if i > 0 && a.At.Before(before) {
			old = append(old, a.Number)
		}
	}
	return old
}
