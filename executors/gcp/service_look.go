package gcp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// lookService returns the status of a revision. Cloud Run starts instances that end again, so that a revision which
// was ready stays so.
func (f *followed) lookService(ctx context.Context) (state.Status, error) {
	absent := state.Status{Phase: state.Absent}
	var s runService
	there, err := f.e.client.get(ctx, f.st.service(), &s)
	if err != nil || !there || f.st.owns(&s) != nil || gone(&s, f.st.start()) {
		return absent, err
	}
	var r runRevision
	there, err = f.e.client.get(ctx, f.st.revision(), &r)
	if err != nil {
		return absent, err
	}
	if !there {
		if s.Template == nil || s.Template.Revision != f.st.start() {
			return absent, nil
		}
		if c := s.TerminalCondition; c != nil && c.State == failed && !s.Reconciling {
			why := explain(*c, nil)
			return state.Status{Phase: state.Failed, Message: why, Lacking: cloud.Lacks(why, lacking)}, nil
		}
		return state.Status{Phase: state.Running, Queued: true, Message: preparing}, nil
	}
	now := state.Status{Phase: state.Running, Started: r.CreateTime.UTC()}
	c := r.ready()
	switch c.State {
	case succeeded:
		now.Phase = state.Ready
		if n := share(&s, f.st.start()); n < 100 && len(s.TrafficStatuses) > 0 {
			now.Message = fmt.Sprintf("%d %% of the requests go to it", n)
		}
	case failed:
		now.Phase, now.Message = state.Failed, explain(c, nil)
		now.Lacking = cloud.Lacks(now.Message, lacking)
	default:
		if now.Message = explain(c, nil); now.Message == "" && time.Since(r.CreateTime) > prompt {
			now.Message = preparing
		}
	}
	return now, nil
}

const preparing = "Cloud Run prepares it"

// serviceFilter selects what a revision has printed, and not its requests.
func (st taskState) serviceFilter() string {
	at := "projects/" + st.Project + "/logs/run.googleapis.com%2F"
	return fmt.Sprintf(`resource.type="cloud_run_revision" AND resource.labels.service_name=%q AND resource.labels.location=%q AND resource.labels.revision_name=%q AND logName=(%q OR %q)`,
		st.Service, st.Region, st.start(), at+"stdout", at+"stderr")
}

// versioned returns what [cloud.Versions] need of a service.
func (e *Executor) versioned(_ context.Context, h state.Handle) (cloud.Run, cloud.Job, bool, error) {
	st, err := e.fromHandle(h)
	return e.run(st), &followed{e: e, st: st}, st.Idle, err
}

// SetRoute replaces the note that each instance of a service of Cloud Run looks at once a second, or divides the requests of an
// endpoint of Vertex AI.
func (e *Executor) SetRoute(ctx context.Context, h state.Handle, r step.Route) error {
	st, err := e.hosted(ctx, h)
	if err == nil && st == nil {
		return e.Versions.SetRoute(ctx, h, r)
	}
	if err == nil {
		err = e.setSplit(ctx, *st, r)
	}
	if err != nil {
		return fmt.Errorf("set the route of %s: %w", h.ID, err)
	}
	return nil
}

// Observe adds up what all instances of a service have stored, also those that have ended. Of an endpoint of Vertex AI it only
// says which route is in effect.
func (e *Executor) Observe(ctx context.Context, h state.Handle) (*step.Observed, error) {
	st, err := e.hosted(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("read what %s observes: %w", h.ID, err)
	}
	if st == nil {
		return e.Versions.Observe(ctx, h)
	}
	return e.observeHosted(ctx, *st)
}

// hosted returns the state of an endpoint of Vertex AI that exists, or nil for a service of Cloud Run.
func (e *Executor) hosted(ctx context.Context, h state.Handle) (*taskState, error) {
	st, err := e.fromHandle(h)
	if err != nil || st.Endpoint == "" {
		return nil, err
	}
	now, _, err := (&followed{e: e, st: st}).Look(ctx)
	if err == nil && now.Phase == state.Absent {
		err = errors.New("it is no longer on Google Cloud: apply again")
	}
	return &st, err
}
