package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
)

// errAgain makes a detached apply end so that its Job makes it again.
var errAgain = errors.New("the detached apply has not come to its end")

// runDetachedCommand walks a plan in the cluster. The Job of tenon apply --detach runs it;
// users do not, so it is hidden.
func runDetachedCommand(a *app) *cobra.Command {
	var digest, job string
	c := &cobra.Command{
		Use: "run-detached", Short: "Apply a plan in the cluster, as tenon apply --detach says", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			ctx := c.Context()
			e, err := readDetached(ctx, a.store, digest)
			if err != nil {
				return errors.Join(err, errAgain)
			}
			dir, err := os.Getwd()
			if err != nil {
				return err
			}
			if err := a.reaches(ctx, e.Plan.State.Lineage); err != nil {
				return err
			}
			w, err := a.open(ctx, dir)
			if err != nil {
				return errors.Join(err, errAgain)
			}
			defer func() { err = errors.Join(err, w.close()) }()
			return a.walk(ctx, w, e, job)
		},
	}
	c.Flags().StringVar(&a.store, "artifacts", "", "`URL` of the store")
	c.Flags().StringVar(&digest, "request", "", "`DIGEST` of what to do")
	c.Flags().StringVar(&job, "job", "", "`NAME` of the Job that this is a pod of")
	return c
}

// reaches returns an error unless the state of the environment is the one that the
// plan is of. What another database has is left as it is.
func (a *app) reaches(ctx context.Context, lineage string) error {
	where := a.stateAt()
	if !state.IsURL(where) {
		return errors.New("the target's state_secret has no TENON_STATE=postgres://...: add it, and apply again")
	}
	there, err := state.Exists(ctx, where)
	if err != nil {
		return errors.Join(err, errAgain)
	}
	found := "no state"
	if there {
		s, err := state.Open(ctx, where)
		if err != nil {
			return errors.Join(err, errAgain)
		}
		meta, err := s.Meta(ctx)
		if err := errors.Join(err, s.Close()); err != nil {
			return errors.Join(err, errAgain)
		}
		if meta.Lineage == lineage {
			return nil
		}
		found = "another state"
	}
	return fmt.Errorf("TENON_STATE in the target's state_secret is %s, where %s is: it has to be the database that --state names, as pods reach it", state.Shown(where), found)
}

func readDetached(ctx context.Context, url, digest string) (e detachedApply, err error) {
	store, err := remote.Open(ctx, url)
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	text, err := store.Bytes(ctx, artifact.Ref{Digest: digest})
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		return e, fmt.Errorf("read the detachedApply: %w", err)
	}
	return e, nil
}

func (a *app) walk(ctx context.Context, w *workspace, e detachedApply, job string) (err error) {
	sources, err := w.lay(ctx, e, w.dir+"-sources")
	if err != nil {
		return errors.Join(err, errAgain)
	}
	in, err := w.setting(ctx, e.Plan.System.Name)
	if err != nil {
		return errors.Join(err, errAgain)
	}
	in.home, in.images = e.Home, e.Images
	lease, err := w.store.Lock(ctx, state.Holder{Command: fmt.Sprintf("tenon apply --detach, revision %d", e.Revision)}, state.LockOptions{Wait: -1})
	if err != nil {
		return errors.Join(err, errAgain)
	}
	release := sync.OnceValue(func() error { return lease.Release(context.WithoutCancel(ctx)) })
	defer func() { err = errors.Join(err, release()) }()
	leave := func() bool {
		// Whoever ended the detached apply wants an end in order. Where only its pod is lost, what
		// runs goes on, and the next pod finds it.
		if a.ending(ctx, e, in, job) {
			return false
		}
		fmt.Fprintln(a.stderr, "tenon: this pod ends; another one goes on")
		_ = release()
		os.Exit(exitStopped)
		return true
	}
	a.leave.Store(&leave)
	view := a.newView(false, e.Plan)
	o, err := a.options(w, lease, e.Plan.System.Target, in, view.event)
	if err != nil {
		return err
	}
	o.Parallel, o.Sources = e.Parallel, sources
	if err := errors.Join(w.artifacts.Look(ctx), a.bring(ctx, w)); err != nil {
		return errors.Join(err, errAgain)
	}
	result, err := executors.Apply(ctx, e.Plan, o)
	switch {
	case errors.Is(err, executors.ErrMoved):
		return fmt.Errorf("revision %d is not the newest any more, or has ended: %w", e.Revision, err)
	case result == nil || result.Fault != "":
		return errors.Join(err, errAgain)
	}
	return view.end(ctx, result, err)
}

// ending reports whether somebody has ended the detached apply. If the cluster does not tell,
// nobody has.
func (a *app) ending(ctx context.Context, e detachedApply, in setting, job string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	x, err := a.executor(e.Plan.System.Target, in)
	if err != nil {
		return false
	}
	ending, err := x.(*kubernetes.Executor).Ending(ctx, job)
	return err == nil && ending
}
