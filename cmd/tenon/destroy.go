package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner"
)

func destroyCommand(a *app) *cobra.Command {
	var o destroyOptions
	var wait time.Duration
	c := &cobra.Command{
		Use: "destroy [DIR]", Short: "Stop every service and remove what is deployed", Args: atMost(1, "one folder"),
		Long: `Stops every service and removes rule files. Runs, models and artifacts remain: the
next apply reuses them, and tenon gc removes old ones. To remove everything,
delete the state folder afterwards. A controller that tenon run --detach started
ends as well.

Then it removes the infrastructure that tenon apply has made. If a bucket for artifacts is
part of it, say whether they may be lost, or keep the infrastructure.`,
		Example: `  tenon destroy
  tenon destroy --yes
  tenon destroy --keep-infrastructure     only units
  tenon destroy --delete-artifacts        also the bucket, with all models and tables in it`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if o.json && !o.yes {
				return errUnasked
			}
			if o.keep && o.artifacts {
				return &usageError{errors.New("--keep-infrastructure and --delete-artifacts cannot be used together")}
			}
			return a.withApplied(ctx, folder(args), func(w *project.Workspace) (err error) {
				s, err := w.Lock(ctx, "tenon destroy", wait)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, s.Release(ctx)) }()
				return a.destroy(ctx, s, o)
			})
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	c.Flags().BoolVar(&o.json, "json", false, "print events as JSON, one per line; needs --yes")
	c.Flags().BoolVar(&o.keep, "keep-infrastructure", false, "remove units only")
	c.Flags().BoolVar(&o.artifacts, "delete-artifacts", false, "also remove the bucket that tenon made, with everything in it")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for an apply to end")
	return c
}

// destroyOptions say what to destroy, and whether to ask first.
type destroyOptions struct {
	yes, json       bool
	keep, artifacts bool
}

// destroy removes what is deployed, and the infrastructure.
func (a *app) destroy(ctx context.Context, s *project.Session, o destroyOptions) error {
	units, err := s.Deployed(ctx)
	if err != nil {
		return err
	}
	slices.Sort(units)
	var removal *project.InfrastructureRemoval
	if !o.keep {
		if err := s.RecoverInfrastructure(ctx); err != nil {
			return err
		}
		removal, err = s.PlanRemoval(ctx, o.artifacts)
		if errors.Is(err, project.ErrArtifacts) {
			return fmt.Errorf("%w: remove it and everything in it with --delete-artifacts, or remove only units with --keep-infrastructure", err)
		} else if err != nil {
			return err
		}
	}
	all := slices.Clone(units)
	if removal != nil {
		for _, r := range removal.Resources {
			all = append(all, r.Address)
		}
	}
	if len(all) > 0 {
		if err := s.CheckProtection(ctx, nil); err != nil {
			return err
		}
	}
	if err := a.confirmDestroy(s.Env(), units, all, o); err != nil {
		return err
	}
	items := make([]planner.Item, len(units))
	for i, u := range units {
		items[i] = planner.Item{Unit: u, Action: planner.Delete}
	}
	view := a.newView(o.json, &planner.Plan{Items: items})
	view.again = a.again("tenon destroy")
	result, err := s.Destroy(ctx, project.ApplyOptions{Events: view.event, Removal: removal})
	if err == nil && result.Revision == 0 {
		if o.json {
			return a.printJSONLine(event{Type: "nothing"})
		}
		return nil
	}
	return view.end(ctx, result, err)
}

// confirmDestroy shows what will be destroyed, units and then resources, and asks for confirmation.
func (a *app) confirmDestroy(env string, units, all []string, o destroyOptions) error {
	if len(all) == 0 && !o.json {
		fmt.Fprintln(a.stdout, nothingDeployed(env))
	}
	what := "Destroy " + plural(int64(len(units)), "unit")
	if n := len(all) - len(units); n > 0 {
		what += " and " + plural(int64(n), "resource")
	}
	if env != "" {
		what += " of the environment " + env
	}
	if o.yes && env != "" && len(all) > 0 && !o.json {
		fmt.Fprintln(a.stdout, what)
	}
	if o.yes || len(all) == 0 {
		return nil
	}
	a.printDeletes(all)
	if err := a.confirm(what + "?"); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	return nil
}

// printDeletes lists units that are to be removed.
func (a *app) printDeletes(units []string) {
	for _, u := range units {
		fmt.Fprintf(a.stdout, "  %s %s\n", a.paint(red, "-"), u)
	}
}
