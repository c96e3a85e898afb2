package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// SetRoute replaces the note that each pod of the service looks at once a second.
func (e *Executor) SetRoute(ctx context.Context, h state.Handle, r step.Route) error {
	err := e.routed(ctx, h, func(s *remote.Store, l *link, ts taskState) error { return ts.putRoute(ctx, s, r) })
	if err != nil {
		return fmt.Errorf("set the route of %s: %w", h.ID, err)
	}
	return nil
}

// Observe adds up what all pods of the service have stored, also those that are gone. A service that
// has no pods because nobody asks it observes that: the next pod begins with the route.
func (e *Executor) Observe(ctx context.Context, h state.Handle) (seen *step.Observed, err error) {
	err = e.routed(ctx, h, func(s *remote.Store, l *link, ts taskState) error {
		reports, err := ts.reports(ctx, s)
		if err != nil || len(reports) == 0 {
			return err
		}
		pods, err := l.podsOf(ctx, ts.Name)
		if err != nil {
			return err
		}
		if r := ts.Replicas; r != nil && r.Min == 0 && len(pods) == 0 {
			seen, err = ts.asleep(ctx, s, reports, time.Now())
			return err
		}
		seen = sum(reports, pods)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what %s observes: %w", h.ID, err)
	}
	return seen, nil
}

// routed calls do for a service that exists.
func (e *Executor) routed(ctx context.Context, h state.Handle, do func(*remote.Store, *link, taskState) error) error {
	ts, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	return e.visit(ctx, ts, func(l *link, now *taskState) error {
		if now == nil {
			return errors.New("the cluster does not have it any more")
		}
		s, err := e.store(ctx, now.Store)
		if err != nil {
			return err
		}
		return do(s, l, *now)
	})
}

// putRoute stores the route of the pods of a service.
func (ts taskState) putRoute(ctx context.Context, s *remote.Store, r step.Route) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.PutNote(ctx, pod.RouteNote(ts.note()), b)
}

// asleep adds up what pods observed of the present route until the last of them ended.
func (ts taskState) asleep(ctx context.Context, s *remote.Store, reports map[types.UID]step.Observed, now time.Time) (*step.Observed, error) {
	b, err := s.Note(ctx, pod.RouteNote(ts.note()))
	if err != nil {
		return nil, err
	}
	var r step.Route
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("the route in the store: %w", err)
	}
	maps.DeleteFunc(reports, func(_ types.UID, o step.Observed) bool { return o.Serial != r.Serial })
	seen := sum(reports, nil)
	seen.Serial, seen.At = r.Serial, now
	return seen, nil
}

// reports returns what each pod of the service has stored, by UID.
func (ts taskState) reports(ctx context.Context, s *remote.Store) (map[types.UID]step.Observed, error) {
	prefix := pod.ObservedNotes(ts.note())
	notes, err := s.Notes(ctx, prefix)
	if err != nil {
		return nil, err
	}
	all := map[types.UID]step.Observed{}
	for name, b := range notes {
		var o step.Observed
		uid := strings.TrimPrefix(name, prefix)
		if err := json.Unmarshal(b, &o); err != nil {
			return nil, fmt.Errorf("what the pod with the UID %s has stored: %w", uid, err)
		}
		all[types.UID(uid)] = o
	}
	return all, nil
}

// faults says which versions in a pod cannot answer, to be added to why it is not ready. It returns
// "" if the store does not have what the pod observes.
func (e *Executor) faults(ctx context.Context, ts taskState, p *corev1.Pod) (text string) {
	s, err := e.store(ctx, ts.Store)
	if err != nil {
		return ""
	}
	reports, err := ts.reports(ctx, s)
	if err != nil {
		return ""
	}
	versions := reports[p.UID].Versions
	for _, name := range sortedKeys(versions) {
		if fault := versions[name].Fault; fault != "" {
			text += fmt.Sprintf("; %s cannot answer: %s", name, fault)
		}
	}
	return text
}

// sum adds up what pods observe of a route: the oldest one that a ready pod still has, because a
// route is in effect once all of them have it. The time of the sum is that of the ready pod which
// has not reported for the longest time.
func sum(reports map[types.UID]step.Observed, pods []*corev1.Pod) *step.Observed {
	var total step.Observed
	var newest time.Time
	names := map[types.UID]string{} // of ready pods
	for _, o := range reports {
		if o.Serial > total.Serial {
			total.Serial = o.Serial
		}
		if o.At.After(newest) {
			newest = o.At
		}
	}
	for _, p := range pods {
		if p.DeletionTimestamp != nil || !isReady(p) {
			continue
		}
		names[p.UID] = p.Name
		at := podCondition(p, corev1.PodReady).LastTransitionTime.Time
		if o, ok := reports[p.UID]; ok {
			at, total.Serial = o.At, min(total.Serial, o.Serial)
		}
		if total.At.IsZero() || at.Before(total.At) {
			total.At = at
		}
	}
	if total.At.IsZero() {
		total.At = newest
	}
	for _, uid := range sortedKeys(reports) {
		o := reports[uid]
		if o.Serial != total.Serial {
			continue
		}
		for name, v := range o.Versions {
			switch of, ready := names[uid]; {
			case !ready: // what it could not answer, others do
				v.Fault = ""
			case v.Fault != "":
				v.Fault = fmt.Sprintf("pod %s: %s", of, v.Fault)
			}
			o.Versions[name] = v
		}
		total.Add(o)
	}
	return &total
}
