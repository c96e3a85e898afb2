package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// detachedThere describes a controller on its platform.
func detachedThere(program executors.DetachedProgram, st state.Status) *DetachedController {
	d := &DetachedController{Phase: st.Phase, Message: st.Message}
	if p, ok := program.(executors.ScheduledProgram); ok {
		d.Rule, d.Every = p.Schedule()
		return d
	}
	job := program.Job()
	d.Namespace, d.Deployment = job.Namespace, job.Name
	return d
}

// awaitPass waits until the first pass of a controller has ended. The schedule starts nothing more if that has failed: the next
// ones would, too.
func (w *Workspace) awaitPass(ctx context.Context, program executors.ScheduledProgram) (*DetachedController, error) {
	w.set.notify(Notice{Text: "waiting for the first pass ..."})
	for said := ""; ; {
		st, err := program.Status(ctx)
		switch {
		case err != nil:
			return nil, err
		case st.Phase == state.Failed:
			err := fmt.Errorf("the schedule is not used: %s", cmp.Or(st.Message, "the first pass failed for an unknown reason"))
			return nil, errors.Join(err, program.End(context.WithoutCancel(ctx)))
		case st.Phase == state.Ready:
			return detachedThere(program, st), nil
		}
		if st.Message != said && st.Message != "" {
			w.set.notify(Notice{Text: "waits: " + st.Message})
		}
		said = st.Message
		if err := pause(ctx, lookForController); err != nil {
			return nil, err
		}
	}
}
