package aws

import (
	"context"
	"fmt"
	"io"

	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// A followed task is one that somebody waits for.
type followed struct {
	e  *Executor
	c  *cloud
	st taskState
	at logPosition
}

var _ clouds.Job = (*followed)(nil)

// Look returns the status of the task, and the result of a job that has ended and stored one.
func (f *followed) Look(ctx context.Context) (state.Status, *pod.Result, error) {
	return f.e.backend(f.st.Place).look(ctx, f.c, &f.st)
}

// Abandon ends a job that would start once what it waits for is there.
func (f *followed) Abandon(ctx context.Context) error {
	return f.e.backend(f.st.Place).end(ctx, f.c, &f.st)
}

// Wait returns once a service is ready or has failed, or once a job has ended, after it has fetched
// the log of the job, its metrics and, if it succeeded, its outputs. Meanwhile it copies the log and the
// progress. When ctx is done, it leaves the task running.
func (e *Executor) Wait(ctx context.Context, h state.Handle) (now state.Status, err error) {
	err = e.follow(ctx, h, "wait for ", func(r clouds.Run, f *followed) (err error) {
		if was, ok := r.Ended(); ok {
			now = was
			return nil
		}
		now, err = r.Wait(ctx, f)
		if a, ok := e.backend(f.st.Place).(promoter); ok && err == nil && now.Phase == state.Ready {
			err = a.promote(ctx, f.c, &f.st)
		}
		return err
	})
	return now, err
}

// Logs copies the output of a job: from this machine once that is complete here, and otherwise
// from CloudWatch. With follow it continues until the job has ended.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	return e.follow(ctx, h, "log of ", func(r clouds.Run, f *followed) error { return r.Logs(ctx, f, w, follow) })
}

func (e *Executor) follow(ctx context.Context, h state.Handle, what string, do func(clouds.Run, *followed) error) error {
	st, c, err := e.open(ctx, h)
	if err != nil {
		return err
	}
	err = do(e.run(c, st), &followed{e: e, c: c, st: st})
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s%s: %w", what, st.Unit, err)
	}
	return nil
}
