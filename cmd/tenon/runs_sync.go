package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

func runsSyncCommand(a *app) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "sync", Short: "Send to the tracking server what could not be sent before", Args: cobra.NoArgs,
		Long: `Sends the runs, parameters and metrics that an apply could not send to the MLflow server
of tracking, because that did not answer or the apply was killed. The next apply does
the same. What was sent already is not sent again.`,
		Example: "  tenon runs sync",
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, dir, func(w *project.Workspace) error { return a.syncRuns(ctx, w) })
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	return c
}

func (a *app) syncRuns(ctx context.Context, w *project.Workspace) (err error) {
	s, err := w.Lock(ctx, "tenon runs sync", 10*time.Second)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Release(ctx)) }()
	sent, left, err := s.SyncTracked(ctx)
	text := "Nothing waits to be sent."
	if sent > 0 || left > 0 {
		text = fmt.Sprintf("Sent what waited of %s; %s left.", plural(int64(sent), "run"), plural(int64(left), "run"))
	}
	_, printErr := fmt.Fprintln(a.stdout, text)
	return errors.Join(err, printErr)
}
