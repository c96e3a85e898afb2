package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/planner"
)

func promoteCommand(a *app) *cobra.Command {
	var o consent
	var how project.Promotion
	var wait time.Duration
	var dir, out string
	var noWait bool
	c := &cobra.Command{
		Use: "promote FROM TO", Short: "Deploy in one environment what another one has proven",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return &usageError{fmt.Errorf("tenon promote takes two environments, such as dev prod, but got %s; see tenon promote --help", plural(int64(len(args)), "argument"))}
			}
			for _, env := range args {
				if !lang.EnvironmentName.MatchString(env) {
					return &usageError{fmt.Errorf("%q cannot be the name of an environment", env)}
				}
			}
			if args[0] == args[1] {
				return &usageError{errors.New("an environment cannot be promoted to itself")}
			}
			return nil
		},
		Long: `Compiles the system for the environment TO, and plans to deploy there the results
that are deployed in FROM. Then it asks for confirmation and applies the plan.

Nothing runs again. FROM must have what the sources say. If TO would need a result
that FROM does not have, because its definition differs there, the promotion is
refused with the reasons, unless --run allows it to run. A deployment with release is
released in TO step by step, as tenon apply does.`,
		Example: `  tenon promote dev prod
  tenon promote dev prod --out prod.plan && tenon apply prod.plan
  tenon promote dev prod --run          also run what only prod needs`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			ctx := c.Context()
			if o.json && !o.yes {
				return errUnasked
			}
			how.From, a.env = args[0], args[1]
			s, p, err := a.planPromotion(ctx, dir, how, wait)
			if err != nil {
				return err
			}
			defer func() {
				if err = errors.Join(err, s.Release(ctx)); err == nil && out == "" && !noWait {
					err = a.followAfter(ctx, s.Workspace, o.json)
				}
				err = errors.Join(err, s.Close())
			}()
			if !o.json {
				fmt.Fprintf(a.stdout, "Promote %s to %s: %s\n", originText(p.From), a.env, promotionText(p))
			}
			if out != "" {
				if !o.json {
					if err := a.printPlan(p, false); err != nil {
						return err
					}
				}
				return a.writePlan(p, out, o.json)
			}
			return a.carryOut(ctx, p, s, o)
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	c.Flags().StringArrayVarP(&a.tags, "tag", "t", nil, "set a CUE `TAG`, as with tenon apply (repeatable)")
	a.placeFlag(c)
	o.flags(c)
	c.Flags().BoolVar(&how.AllowRun, "run", false, "run jobs whose results FROM does not have")
	c.Flags().StringVarP(&out, "out", "o", "", "write the plan to `FILE` and stop")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for another apply to end")
	c.Flags().BoolVar(&noWait, "no-wait", false, "leave releases to tenon release run")
	return c
}

// planPromotion plans a promotion under the lock of the environment that it changes.
func (a *app) planPromotion(ctx context.Context, dir string, how project.Promotion, wait time.Duration) (_ *project.Session, _ *planner.Plan, err error) {
	p, err := a.project(dir)
	if err != nil {
		return nil, nil, err
	}
	if how.Was, err = p.CompileFor(ctx, how.From); err != nil {
		return nil, nil, err
	}
	if how.Becomes, err = p.Compile(ctx); err != nil {
		return nil, nil, err
	}
	w, err := p.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := w.Lock(ctx, "tenon promote", wait)
	if err != nil {
		return nil, nil, errors.Join(err, w.Close())
	}
	err = errors.Join(a.settleReleases(ctx, s), s.RecoverInfrastructure(ctx))
	var plan *planner.Plan
	if err == nil {
		plan, err = s.PlanPromotion(ctx, how)
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.Release(ctx), w.Close())
	}
	return s, plan, nil
}

// originText names what a plan promotes.
func originText(o *planner.Origin) string { return fmt.Sprintf("%s@%d", o.Env, o.Revision) }

// promotionText says in short what a promotion does: "0 to run, 2 to update".
func promotionText(p *planner.Plan) string {
	s := p.Summary()
	text := fmt.Sprintf("%d to run", s.Run)
	for _, x := range []struct {
		n    int
		what string
	}{{s.Create, "create"}, {s.Update, "update"}, {s.Replace, "replace"}, {s.Delete, "delete"}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %d to %s", x.n, x.what)
		}
	}
	return text
}
