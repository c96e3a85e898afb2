package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

// runDetachedArgs returns the arguments of the command below.
func runDetachedArgs(artifacts, request string) []string {
	return []string{"run-detached", "--artifacts", artifacts, "--request", request}
}

// runDetachedCommand applies a plan inside the cluster. The Job of tenon apply --detach
// runs it; it is hidden because users do not.
func runDetachedCommand(a *app) *cobra.Command {
	var request string
	c := &cobra.Command{
		Use: "run-detached", Short: "Apply a plan in the cluster for tenon apply --detach", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			ctx := c.Context()
			settings, err := a.settingsInPod()
			if err != nil {
				return err
			}
			run, err := project.OpenDetached(ctx, settings, request, "tenon apply --detach")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, run.Close()) }()
			a.leavePod(ctx, run.Leave)
			view := a.newView(false, run.Plan)
			result, err := run.Apply(ctx, view.event)
			return view.end(ctx, result, err)
		},
	}
	c.Flags().StringVar(&a.store, "artifacts", "", "`URL` of the store")
	c.Flags().StringVar(&request, "request", "", "`DIGEST` of the task")
	return c
}

// settingsInPod are those of a system whose folder is the working directory of a pod.
func (a *app) settingsInPod() (project.Settings, error) {
	dir, err := os.Getwd()
	if err != nil {
		return project.Settings{}, err
	}
	return a.settings(dir)
}

// leavePod ends the process when its pod is asked to end, if leave says that another one will continue.
func (a *app) leavePod(ctx context.Context, leave func(context.Context) bool) {
	f := func() bool {
		if leave(ctx) {
			fmt.Fprintln(a.stderr, "tenon: this pod is stopping; another one will continue")
			os.Exit(exitStopped)
		}
		return false
	}
	a.leave.Store(&f)
}
