package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

// detachController starts a controller that runs on its own.
func (a *app) detachController(ctx context.Context, dir string, o runOptions) error {
	settings, err := a.settings(dir)
	if err != nil {
		return err
	}
	if settings.Dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("find the system: %w", err)
	}
	command, _ := controllerCommand(settings, o)
	return project.New(settings).WithApplied(ctx, func(w *project.Workspace) error {
		d, err := w.DetachController(ctx, project.ControllerOptions{Every: o.every, Parallel: o.parallel, Args: runControllerArgs, Command: command, Metrics: o.metrics})
		switch {
		case err != nil:
			return err
		case o.json:
			return a.printJSON(d)
		}
		if d.Rule != "" {
			_, err = fmt.Fprintf(a.stdout, "%s: %s starts a pass. The first one succeeded.\n%s", a.paint("1;"+green, "Detached"), whichController(d)+",", detachedHelp)
			return err
		}
		did := "Detached"
		if d.Unchanged {
			did = "Unchanged"
		}
		fmt.Fprintf(a.stdout, "%s: %s watches.\n", a.paint("1;"+green, did), whichController(d))
		if d.Metrics != "" {
			fmt.Fprintf(a.stdout, "Prometheus finds its metrics at %s.\n", d.Metrics)
		}
		fmt.Fprint(a.stdout, detachedHelp)
		return nil
	})
}

// detachedHelp says what can be done with a controller that was detached.
const detachedHelp = "\n  tenon logs --controller -f    follow its output\n  tenon run --status            show it\n  tenon run --stop              end it\n"

// whichController names a controller that was detached.
func whichController(d *project.DetachedController) string {
	if d.Rule != "" {
		return fmt.Sprintf("rule %s of EventBridge, every %s", d.Rule, d.Every)
	}
	if d.Deployment != "" {
		return fmt.Sprintf("Deployment %s in namespace %s", d.Deployment, d.Namespace)
	}
	return fmt.Sprintf("process %d on %s", d.PID, d.Host)
}

// stopController ends the controller that was detached.
func (a *app) stopController(ctx context.Context, dir string, asJSON bool) error {
	return a.withApplied(ctx, dir, func(w *project.Workspace) error {
		d, err := w.StopController(ctx)
		switch {
		case err != nil:
			return err
		case asJSON:
			return a.printJSON(d)
		case d == nil:
			_, err = fmt.Fprintln(a.stdout, "No controller was detached.")
		default:
			_, err = fmt.Fprintf(a.stdout, "Stopped: %s.\n", whichController(d))
		}
		return err
	})
}

// controllerStatus shows the controller of the environment.
func (a *app) controllerStatus(ctx context.Context, dir string, asJSON bool) error {
	return a.withApplied(ctx, dir, func(w *project.Workspace) error {
		s, err := w.ControllerStatus(ctx)
		switch {
		case err != nil:
			return err
		case asJSON:
			return a.printJSON(s)
		case s.Controller == nil && s.Detached == nil:
			_, err = fmt.Fprintln(a.stdout, "No controller runs: tenon run --detach starts one.")
			return err
		}
		if s.Controller != nil {
			fmt.Fprintln(a.stdout, watchedBy(s.Controller))
		}
		switch d := s.Detached; {
		case d == nil:
		case d.Deployment != "" || d.Rule != "":
			text := whichController(d) + ": " + string(d.Phase)
			if d.Message != "" {
				text += ": " + d.Message
			}
			fmt.Fprintln(a.stdout, text)
		case d.Log != "":
			fmt.Fprintf(a.stdout, "its log is %s\n", d.Log)
		}
		return nil
	})
}

// runControllerArgs returns the arguments of the command below.
func runControllerArgs(artifacts, request string) []string {
	return []string{"run-in-pod", "--artifacts", artifacts, "--request", request}
}

// runControllerCommand runs a controller inside the cluster. The Deployment of tenon run --detach runs
// it; it is hidden because users do not.
func runControllerCommand(a *app) *cobra.Command {
	var request, folder string
	c := &cobra.Command{
		Use: "run-in-pod", Short: "Run the controller in the cluster for tenon run --detach", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			if folder != "" {
				if err := errors.Join(os.MkdirAll(folder, 0o755), os.Chdir(folder)); err != nil {
					return err
				}
			}
			settings, err := a.settingsInPod()
			if err != nil {
				return err
			}
			run, err := project.OpenController(ctx, settings, request)
			if err != nil {
				return err
			}
			a.leavePod(ctx, run.Leave)
			return a.controls(ctx, run.Project(), project.DetachCommand, runOptions{every: run.Every, once: run.Once, metrics: run.Metrics}, run.Open)
		},
	}
	c.Flags().StringVar(&a.store, "artifacts", "", "`URL` of the store")
	c.Flags().StringVar(&request, "request", "", "`DIGEST` of what it was sent")
	c.Flags().StringVar(&folder, "folder", "", "work in `FOLDER`, where the platform does not choose one")
	return c
}
