package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// RollbackTo returns the revision that a name such as "@3" refers to, if it can be
// restored. Without a name it returns the one before the current one.
func (w *Workspace) RollbackTo(ctx context.Context, name string) (*state.Revision, error) {
	if name != "" {
		r, err := w.revisionNamed(ctx, name)
		switch {
		case err != nil:
		case r.Deployed == "":
			err = w.notWhole(ctx, r)
		case r.Act == state.Destroy:
			err = fmt.Errorf("@%d removed everything: use tenon destroy to do that again", r.Number)
		}
		return r, err
	}
	revisions, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return nil, err
	}
	if len(revisions) == 0 {
		return nil, errNoRevision
	}
	now, err := w.deployedDigest(ctx, &revisions[0])
	if err != nil {
		return nil, err
	}
	configured, now, err := w.withConfigurations(ctx, revisions, now)
	if err != nil {
		return nil, err
	}
	if r := earlier(configured, now); r != nil {
		return numbered(revisions, r.Number), nil
	}
	return nil, fmt.Errorf("no earlier revision was fully applied%s", thereIs(revisions))
}

// withConfigurations adds the configuration of the infrastructure to what revisions have deployed, and to what is
// deployed now: a revision that changed nothing else is not the same.
func (w *Workspace) withConfigurations(ctx context.Context, all []state.Revision, now string) ([]state.Revision, string, error) {
	versions, err := w.store.InfrastructureVersions(ctx, 0)
	if err != nil || len(versions) == 0 {
		return all, now, err
	}
	all = slices.Clone(all)
	for i := range all {
		r := &all[i]
		for _, v := range versions { // newest first
			if v.Revision <= r.Number && r.Deployed != "" {
				r.Deployed += " " + v.Config
				break
			}
		}
	}
	return all, now + " " + versions[0].Config, nil
}

// earlier returns the revision to go back to, given all of them, newest first. now is the
// digest of what is deployed. After an apply that did not finish, it is the revision
// before that apply; after such a rollback, it is the target of the rollback. It is none that
// deployed a version of a service which was rejected then. Repairs and refreshed data deploy nothing, and do not count.
func earlier(all []state.Revision, now string) *state.Revision {
	counts := slices.DeleteFunc(slices.Clone(all), func(r state.Revision) bool { return r.Act == state.Repair || r.Act == state.Refresh })
	if len(counts) == 0 {
		return nil
	}
	if slices.ContainsFunc(all, func(r state.Revision) bool { return r.Act == state.Refresh && r.Number > counts[0].Number }) {
		now = counts[0].Deployed
	}
	all = counts
	if last := all[0]; last.Deployed == "" {
		if last.Act == state.Rollback {
			return numbered(all, last.BackTo)
		}
		now = ""
	}
	before := position(all)
	rejected := false // what the next revision deployed
	for i := range all {
		r := &all[i]
		if r.Act == state.Release {
			rejected = rejected || r.BackTo > 0
			continue
		}
		if rejected {
			rejected = false
			continue
		}
		if r.Number <= before && r.Deployed != "" && r.Deployed != now && r.Act != state.Destroy {
			return r
		}
	}
	return nil
}

// numbered returns the revision with that number, or nil if it was removed.
func numbered(all []state.Revision, number int) *state.Revision {
	for i := range all {
		if all[i].Number == number {
			return &all[i]
		}
	}
	return nil
}

// position returns the number of the revision from which to search backwards. A rollback
// counts as the revision that it restored.
func position(all []state.Revision) int {
	at := &all[0]
	for at.Act == state.Rollback || at.Act == state.Release && at.BackTo > 0 {
		back := numbered(all, at.BackTo)
		if back == nil {
			return at.BackTo
		}
		at = back
	}
	return at.Number
}

// notWhole says why a revision cannot be restored, and which ones can.
func (w *Workspace) notWhole(ctx context.Context, r *state.Revision) error {
	all, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return err
	}
	why := "it failed, so it was never fully deployed"
	if r.Act == state.Release {
		return fmt.Errorf("cannot roll back to @%d: it rejected a version, and deployed nothing else%s", r.Number, thereIs(all))
	}
	if r.Act == state.Repair {
		return fmt.Errorf("cannot roll back to @%d: it repaired what was deployed, and deployed nothing else%s", r.Number, thereIs(all))
	}
	switch r.Outcome {
	case state.Done:
		why = "an older tenon applied it and did not record what was deployed"
	case state.Started:
		why = "it has not finished"
	case state.Killed:
		why = "it was killed, so it was never fully deployed"
	case state.Canceled:
		why = "it was stopped, so it was never fully deployed"
	}
	return fmt.Errorf("cannot roll back to @%d: %s%s", r.Number, why, thereIs(all))
}

// thereIs lists the newest revisions that can be restored.
func thereIs(all []state.Revision) string {
	var whole []string
	for _, r := range all {
		if r.Deployed != "" && r.Act != state.Destroy && r.Act != state.Release && r.Act != state.Refresh && len(whole) < 5 {
			whole = append(whole, fmt.Sprintf("@%d", r.Number))
		}
	}
	if len(whole) == 0 {
		return ""
	}
	return "; available: " + strings.Join(whole, ", ")
}

// PlanRollback returns the plan that restores a revision.
func (w *Workspace) PlanRollback(ctx context.Context, r *state.Revision) (*planner.Plan, error) {
	sys, err := w.system(ctx, r)
	if err != nil {
		return nil, err
	}
	past := planner.Past{Revision: r.Number, System: sys, Check: w.artifacts.Check}
	if err := w.recorded(ctx, r, "list of what was deployed", r.Deployed, &past.Deployed); err != nil {
		return nil, err
	}
	all, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return nil, err
	}
	for _, later := range slices.Backward(all) {
		if later.Number > r.Number {
			past.Moves = append(past.Moves, later.Moves...)
		}
	}
	in, err := w.inputs(ctx, sys)
	if err != nil {
		return nil, err
	}
	then, err := w.recordedPlan(ctx, r)
	if errors.Is(err, artifact.ErrMissing) && !sys.RunsImages() {
		then, err = new(planner.Plan), nil // no more than notes are lost
	}
	if err != nil {
		return nil, err
	}
	past.Rejected = then.Rejected()
	if sys.RunsImages() {
		in.Images = then.Images
	}
	p, err := planner.PlanRollback(ctx, past, in)
	if err != nil {
		return nil, fmt.Errorf("%w\nTo rebuild it, apply the sources of that revision", err)
	}
	var starts []ir.Unit
	for _, i := range p.Items {
		if u := p.Unit(&i); u != nil && i.Action.Changes() {
			starts = append(starts, *u)
		}
	}
	p.Blobs = w.code(ctx, starts)
	for _, u := range starts {
		for _, digest := range codeOf(u) {
			if p.Blobs[digest] == nil {
				return nil, fmt.Errorf("cannot restore %s: its code is no longer kept (%s)", u.ID, artifact.Short(digest))
			}
		}
	}
	if p.Protect, err = w.currentRules(ctx); err != nil {
		return nil, err
	}
	if p.Infrastructure, err = w.planInfrastructureOf(ctx, sys.Target, r.Number, then.Infrastructure); err != nil {
		return nil, err
	}
	p.Taken, err = w.taken(ctx, p)
	return p, err
}
