package azure

import (
	"context"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/planner/state"
)

// lookService returns the status of a revision. Container Apps start replicas again that end, so that a revision
// which was ready stays so.
func (f *followed) lookService(ctx context.Context) (state.Status, error) {
	absent := state.Status{Phase: state.Absent}
	var a app
	there, err := f.e.client.app(ctx, f.st, &a)
	if err != nil || !there || f.st.ownsApp(&a) != nil || a.Properties.State == "Deleting" {
		return absent, err
	}
	var r revision
	there, err = f.e.client.get(ctx, "the revision "+f.st.start(), forManager, f.e.client.resource(f.st.revision(), appsVersion), &r)
	if err != nil {
		return absent, err
	}
	if !there {
		switch {
		case f.st.Service+"--"+a.planned() != f.st.start():
			return absent, nil
		case a.busy():
			return state.Status{Phase: state.Running, Queued: true, Message: preparing}, nil
		}
		return state.Status{Phase: state.Failed, Message: "Container Apps could not make its revision: see its activity log in the portal, and apply again"}, nil
	}
	if r.gone() {
		return absent, nil
	}
	p := r.Properties
	now := state.Status{Phase: state.Running, Started: p.Created.UTC()}
	switch {
	case a.Tags[tagServes] == r.Name:
		now.Phase = state.Ready
	case p.Running == "Running" && p.Health == "Healthy":
		now.Phase = state.Ready
		if len(a.traffic()) == 1 && a.traffic()[0].Revision != r.Name {
			now.Message = fmt.Sprintf("requests go to %s", a.traffic()[0].Revision)
		}
	case p.Running == "Failed" || p.Provisioned == "Failed":
		now.Phase, now.Message = state.Failed, notReady
		f.soon = true // what it printed says why
		if why := known([]string{p.Error}); why != "" {
			now.Message = why
		} else if why := f.why(ctx); why != "" {
			now.Message = why
		}
		now.Lacking = cloud.Lacks(now.Message, lacking)
	case time.Since(p.Created) > prompt:
		now.Message = preparing
	}
	return now, nil
}

const preparing = "Container Apps prepare it"

// versioned returns what [cloud.Versions] need of a service.
func (e *Executor) versioned(_ context.Context, h state.Handle) (cloud.Run, cloud.Job, bool, error) {
	st, err := e.fromHandle(h)
	return e.run(st), &followed{e: e, st: st}, st.Idle, err
}
