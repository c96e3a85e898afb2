package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// silence is how long an instance that has not said that it has ended may not report before it counts as
// killed. It reports every two seconds. Until then, no step of a release is taken.
const silence = time.Minute

// PutRoute stores the route of a service, which each of its instances looks at once a second.
func (r Run) PutRoute(ctx context.Context, route step.Route) error {
	notes, err := r.Stores.At(ctx, r.Notes)
	if err != nil {
		return err
	}
	b, err := json.Marshal(route)
	if err != nil {
		return err
	}
	return notes.PutNote(ctx, pod.RouteNote(r.Start), b)
}

// Observed adds up what all instances of a service have stored, also those that have ended, or returns nil if
// none has. idle says that the service may have no instance, because it gets no requests: the next one begins with
// the route of that moment.
func (r Run) Observed(ctx context.Context, idle bool) (*step.Observed, error) {
	notes, err := r.Stores.At(ctx, r.Notes)
	if err != nil {
		return nil, err
	}
	prefix, gone := pod.ObservedNotes(r.Start), pod.EndedNotes(r.Start)
	stored, err := notes.Notes(ctx, prefix)
	if err != nil || len(stored) == 0 {
		return nil, err
	}
	ended, err := notes.Notes(ctx, gone)
	if err != nil {
		return nil, err
	}
	reports, mayLive := map[string]step.Observed{}, map[string]time.Time{}
	now, lives := time.Now(), map[string]bool{}
	var newest time.Time
	for name, b := range stored {
		var o step.Observed
		id := strings.TrimPrefix(name, prefix)
		if err := json.Unmarshal(b, &o); err != nil {
			return nil, fmt.Errorf("what the instance %s has stored: %w", id, err)
		}
		reports[id] = o
		if _, over := ended[gone+id]; !over {
			mayLive[id] = o.At
			if o.At.After(newest) {
				newest = o.At
			}
		}
	}
	since := now
	if !idle && newest.Before(now) { // one of them lives, and the clock of this machine may be ahead
		since = newest
	}
	for id, at := range mayLive {
		if since.Sub(at) < silence {
			lives[id] = true
		}
	}
	if len(lives) > 0 || !idle {
		return sum(reports, lives), nil
	}
	route, err := routeOf(ctx, notes, r.Start)
	if err != nil || route == nil {
		return nil, err
	}
	for id, o := range reports {
		if o.Serial != route.Serial {
			delete(reports, id)
		}
	}
	seen := sum(reports, nil)
	seen.Serial, seen.At = route.Serial, now
	return seen, nil
}

func routeOf(ctx context.Context, notes *remote.Store, start string) (*step.Route, error) {
	b, err := notes.Note(ctx, pod.RouteNote(start))
	if errors.Is(err, artifact.ErrMissing) {
		return nil, nil
	}
	var route step.Route
	if err == nil {
		err = json.Unmarshal(b, &route)
	}
	if err != nil {
		return nil, fmt.Errorf("the route in the bucket: %w", err)
	}
	return &route, nil
}

// sum adds up what instances observe of a route: the oldest one that an instance which lives still has,
// because a route is in effect once all of them have it. The time of the sum is that of the one of them that has not
// reported for the longest time.
func sum(reports map[string]step.Observed, lives map[string]bool) *step.Observed {
	var total step.Observed
	first := true
	for id, o := range reports {
		switch {
		case len(lives) == 0:
			total.Serial = max(total.Serial, o.Serial)
			if o.At.After(total.At) {
				total.At = o.At
			}
		case !lives[id]:
		case first:
			total.Serial, total.At, first = o.Serial, o.At, false
		default:
			total.Serial = min(total.Serial, o.Serial)
			if o.At.Before(total.At) {
				total.At = o.At
			}
		}
	}
	for id, o := range reports {
		if o.Serial != total.Serial {
			continue
		}
		for name, v := range o.Versions {
			switch {
			case !lives[id]: // what it could not answer, others do
				v.Fault = ""
			case v.Fault != "":
				v.Fault = "instance " + id + ": " + v.Fault
			}
			o.Versions[name] = v
		}
		total.Add(o)
	}
	return &total
}
