package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// AccessInContainer returns what a unit needs that runs in a container: what a job needs, or a service, see
// [AccessOfService].
func AccessInContainer(u *ir.Unit) Access {
	if u.Kind == ir.Service {
		return AccessOfService(u)
	}
	return AccessOf(u)
}

// AccessOfService returns what a service needs whose container fetches from the bucket what it answers with. One
// with several versions reads its route, and stores what it observes.
func AccessOfService(u *ir.Unit) Access {
	as := *u
	as.Kind = ir.Job
	a := AccessOf(&as)
	a.Asks, a.Writes = nil, nil
	if u.Release != nil {
		notes := Below(u.ID, "notes")
		a.Reads, a.Writes = append(a.Reads, notes), []string{notes}
		slices.Sort(a.Reads)
	}
	return a
}

// Replicas returns how many replicas of a service there are at least and at most.
func Replicas(p *ir.Endpoint) (least, most int64) {
	least = int64(cmp.Or(p.Replicas, 1))
	most = least
	if s := p.Scale; s != nil {
		least, most = int64(p.Replicas), int64(s.Max)
	}
	return least, most
}

// Service reports what a service in a container does not have on a platform, such as "Cloud Run", which ends TLS,
// leads requests to one port of it, and counts its replicas.
func (c *Checks) Service(u ir.Unit, where string) {
	e := u.Endpoint
	if e.TLS {
		c.Fault("tls", "remove tls", "%s ends TLS in front of the service", where)
	}
	if e.Management != nil {
		c.Fault("management", "remove management", "the service has one port on %s", where)
	}
	if _, most := Replicas(e); e.Counts != "" && most > 1 {
		c.Faults = append(c.Faults, ir.Fault{Field: e.Counts, Note: true,
			Message: fmt.Sprintf("each instance counts for itself, and there may be %d", most), Hint: "limit callers in front of the service, or let it have one instance"})
	}
	if u.Keeps != "" {
		c.Fault(u.Keeps, "remove "+u.Keeps, "the service has no folder that outlives it on %s", where)
	}
}

// Until calls do until it is done. Within some time it has to be, and late is the error otherwise. It looks twice as
// often as [Run.Wait] at first.
func (o Options) Until(ctx context.Context, within time.Duration, late error, do func(context.Context) (bool, error)) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for pause := o.Pause / 2; ; pause = min(2*pause, o.Longest) {
		done, err := do(limited)
		if err == nil && !done {
			if err = Sleep(limited, pause); err == nil {
				continue
			}
		}
		if err != nil && limited.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return late
		}
		return err
	}
}

// Versions are the versions of services whose route is among their notes in the bucket. They implement
// [executors.VersionRunner].
type Versions struct {
	// Service returns a service: where it keeps things, what follows it, and whether it may have no replica.
	Service func(context.Context, state.Handle) (run Run, service Job, idle bool, err error)
}

// SetRoute replaces the note that each replica of the service looks at once a second.
func (v Versions) SetRoute(ctx context.Context, h state.Handle, r step.Route) error {
	run, _, err := v.there(ctx, h)
	if err == nil {
		err = run.PutRoute(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("set the route of %s: %w", h.ID, err)
	}
	return nil
}

// Observe adds up what all replicas of the service have stored, also those that have ended.
func (v Versions) Observe(ctx context.Context, h state.Handle) (*step.Observed, error) {
	run, idle, err := v.there(ctx, h)
	if err == nil {
		var seen *step.Observed
		if seen, err = run.Observed(ctx, idle); err == nil {
			return seen, nil
		}
	}
	return nil, fmt.Errorf("read what %s observes: %w", h.ID, err)
}

// there returns a service that exists.
func (v Versions) there(ctx context.Context, h state.Handle) (Run, bool, error) {
	run, service, idle, err := v.Service(ctx, h)
	if err != nil {
		return run, idle, err
	}
	now, _, err := service.Look(ctx)
	if err == nil && now.Phase == state.Absent {
		err = errors.New("it is no longer there: apply again")
	}
	return run, idle, err
}
