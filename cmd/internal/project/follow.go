package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

const (
	// followEvery is how often a release is looked at.
	followEvery = 500 * time.Millisecond
	// followLock is how long a decision waits for the lock.
	followLock = 10 * time.Second
	// patience is how long a service may take to report on a new route.
	patience = 5 * time.Second
)

// FollowOptions configure [Workspace.FollowReleases].
type FollowOptions struct {
	Apply ApplyOptions
	// Command is what the holder of the lock is called.
	Command string
	// Changed is called with every change.
	Changed func(ReleaseChange)
	// Waits is called with what a release waits for, whenever that is something else.
	Waits func(r Release)
}

// ErrRejected means that a challenger was rejected.
var ErrRejected = errors.New("the new version was rejected")

// FollowReleases takes the steps of the releases in progress, or that of a name, until each is
// over, or somebody has to decide. The lock is held only while a step is taken. It returns
// [ErrRejected] if a challenger is rejected meanwhile.
func (w *Workspace) FollowReleases(ctx context.Context, name string, o FollowOptions) error {
	all, err := w.Releases(ctx, name)
	if err != nil {
		return err
	}
	var rejected error
	waits := map[string]string{}
	for {
		busy := false
		for i := range all {
			if !all[i].InProgress() && !all[i].unsettled() {
				continue
			}
			before := all[i]
			now, err := w.follow(ctx, before, o)
			if err != nil {
				return err
			}
			all[i] = *now
			if r := now.Rejected; r != nil && before.InProgress() && r.Key == before.Challenger().Key {
				rejected = ErrRejected
			}
			if now.Next == nil && !now.unsettled() {
				continue
			}
			if text := waitsFor(now); text != waits[now.Unit] {
				if waits[now.Unit] = text; text != "" {
					o.Waits(*now)
				}
			}
			busy = busy || now.Next == nil || now.Next.Act != planner.ReleaseHold
		}
		if !busy {
			return rejected
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followEvery):
		}
	}
}

// waitsFor tells what a release waits for from anything else, but not from another figure.
func waitsFor(r *Release) string {
	if r.Next == nil || (r.seen == nil || r.seen.Serial != r.current.Route.Serial) && time.Since(r.Since) < patience {
		return ""
	}
	return string(r.Next.Act) + " " + r.Next.Until.String()
}

// follow takes the step of a release that is due, and returns what becomes of it.
func (w *Workspace) follow(ctx context.Context, r Release, o FollowOptions) (*Release, error) {
	now, err := w.releaseNow(ctx, r.Unit)
	if err != nil || !now.InProgress() && !now.unsettled() {
		return now, err
	}
	now.repeated = r.repeated
	if !now.due() && !now.stale() {
		return now, nil
	}
	if now.unreported() {
		if err := w.dead(ctx, now); err != nil {
			return nil, err
		}
	}
	s, err := w.Lock(ctx, o.Command, followLock)
	var held *state.HeldError
	if errors.As(err, &held) {
		return now, nil // an apply is running, and may be long
	}
	if err != nil {
		return nil, err
	}
	change, err := s.Advance(ctx, r.Unit, o.Apply)
	err = errors.Join(err, s.Release(ctx))
	if err != nil {
		return nil, err
	}
	if change.Revision > 0 {
		o.Changed(*change)
	}
	if now, err = w.releaseNow(ctx, r.Unit); err == nil {
		now.repeated = time.Now()
	}
	return now, err
}

// due reports whether a step is due, or the end.
func (r *Release) due() bool {
	return r.unsettled() || r.Next != nil && r.Next.Act != planner.ReleaseWait && r.Next.Act != planner.ReleaseHold
}

// unreported reports whether the service has not reported on the present route.
func (r *Release) unreported() bool {
	return r.seen == nil || r.seen.Serial < r.current.Route.Serial
}

// stale reports whether the route has to be made effective again: the process that set it may have been killed.
func (r *Release) stale() bool {
	return r.unreported() && min(time.Since(r.current.Route.Since), time.Since(r.repeated)) >= patience
}

// dead returns an error if the service of a release has failed: only an apply replaces it.
func (w *Workspace) dead(ctx context.Context, r *Release) error {
	if r.current.Handle == nil {
		return nil
	}
	x, err := route(anyTarget, w.setupApart(), nil)
	if err != nil {
		return err
	}
	st, err := x.Inspect(ctx, *r.current.Handle)
	if err != nil || st.Phase != state.Failed && st.Phase != state.Absent {
		return err
	}
	return fmt.Errorf("%s does not run any more: %s; tenon apply replaces it, with the same weights", r.Unit, cmp.Or(st.Message, "it was stopped outside tenon"))
}

// releaseNow looks at the release of a service again. A service that is gone has none.
func (w *Workspace) releaseNow(ctx context.Context, unit string) (*Release, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	c, ok := current[unit]
	if !ok {
		return &Release{Unit: unit}, nil
	}
	return w.releaseOf(ctx, c)
}

// SettleReleases completes the end of releases whose process was killed before: the champion runs
// alone afterwards. One that cannot be ended does not keep the others from it.
func (s *Session) SettleReleases(ctx context.Context, o ApplyOptions) error {
	all, err := s.Releases(ctx, "")
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].unsettled() {
			if _, settleErr := s.settle(ctx, &all[i], o); settleErr != nil {
				err = errors.Join(err, settleErr)
			}
		}
	}
	return err
}
