package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

func applyCommand(a *app) *cobra.Command {
	var o consent
	var how project.PlanOptions
	var wait time.Duration
	var audit float64
	var noWait bool
	c := &cobra.Command{
		Use: "apply [DIR | PLANFILE]", Short: "Apply a system: run, deploy and remove what the plan says", Args: atMost(1, "one folder or plan file"),
		Long: `Makes a plan, asks for confirmation, and applies it. Units run in parallel as far
as the declared resources allow, the longest path first. Results that are still
valid are reused. A failed unit stops only what depends on it. After an interrupt
or a failure, the next apply continues from there.

A plan file made with tenon plan --out is applied exactly, or refused if the
state has changed since.

If the plan changes the infrastructure of a target, that is done first, with OpenTofu or
Terraform. If it fails, no unit runs, and the next apply continues from there.

With --audit, a share of the units that would be reused runs again, and the bytes
are compared. What is deployed does not change. A unit with a different result is
reported as not deterministic from then on.

A new version of a deployment with release answers a growing share of the requests. The
command takes the steps, and ends when the version is the champion, or fails when it is
rejected. An interrupt, or --no-wait, leaves the release as it is: tenon release run
continues it.

With --detach, the plan is applied in the cluster of its target, independently of
this machine. tenon logs -f follows it, tenon status shows its progress, and
tenon cancel stops it. The cluster must be able to reach the state and the
artifacts.`,
		Example: `  tenon apply
  tenon apply --yes -t env=prod
  tenon apply prod.plan
  tenon apply --audit 0.1
  tenon apply --detach --yes -t target=cluster && tenon logs -f
  tenon apply --yes --json | jq -c 'select(.type == "failed")'`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			ctx := c.Context()
			switch {
			case o.json && !o.yes:
				return errUnasked
			case !(audit >= 0 && audit <= 1):
				return &usageError{fmt.Errorf("--audit must be between 0 and 1, not %v", audit)}
			}
			p, s, err := a.prepare(ctx, folder(args), how, wait)
			if err != nil {
				return err
			}
			defer func() {
				if err = errors.Join(err, s.Release(ctx)); err == nil && !noWait && !o.detach {
					err = a.followAfter(ctx, s.Workspace, o.json)
				}
				err = errors.Join(err, s.Close())
			}()
			if audit > 0 && p.BackTo > 0 {
				return &usageError{errors.New("a rollback contains only the code that it starts: run tenon apply --audit afterwards")}
			}
			if audit > 0 && o.detach {
				return &usageError{errors.New("--audit compares bytes on this machine: it cannot be used with --detach")}
			}
			p.Audit(audit, rand.Float64)
			return a.carryOut(ctx, p, s, o)
		},
	}
	a.systemFlags(c)
	o.flags(c)
	c.Flags().BoolVar(&o.detach, "detach", false, "apply the plan in the cluster of the target, and return")
	c.Flags().Float64Var(&audit, "audit", 0, "repeat this `SHARE` of the reused units and compare: 0.1 is a tenth")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for another apply to end")
	c.Flags().BoolVar(&noWait, "no-wait", false, "leave releases to tenon release run")
	planFlags(c, &how)
	return c
}

// A consent is how to apply a plan, and whether to ask first.
type consent struct {
	yes, json bool
	detach    bool // in the cluster
	parallel  int
}

func (o *consent) flags(c *cobra.Command) {
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	c.Flags().BoolVar(&o.json, "json", false, "print events as JSON, one per line; needs --yes")
	c.Flags().IntVarP(&o.parallel, "parallel", "p", 0, "run at most `N` units at a time (0: as resources allow)")
}

// carryOut shows a plan, asks for confirmation, and applies it.
func (a *app) carryOut(ctx context.Context, p *planner.Plan, s *project.Session, c consent) error {
	if c.detach {
		if err := s.CheckDetach(ctx, p); err != nil {
			return err
		}
	}
	if c.json {
		var b strings.Builder
		a.writeWarnings(&b, p.Warnings)
		fmt.Fprint(a.stderr, b.String())
	} else if err := a.printPlan(p, false); err != nil {
		return err
	}
	work, err := s.Work(ctx, p)
	if err != nil {
		return err
	}
	if work.None() {
		if c.json {
			return a.printJSONLine(event{Type: "nothing"})
		}
		return nil
	}
	if err := errors.Join(p.CheckBudget(), s.CheckProtection(ctx, p)); err != nil {
		return err
	}
	if err := errors.Join(s.CheckSecrets(p), s.CheckPreparations(ctx, p), s.CheckAddresses(ctx, p)); err != nil {
		return err
	}
	if !c.yes && work.Planned { // ending what a killed apply left needs no confirmation
		if err := a.confirm("Apply this plan?"); err != nil {
			return err
		}
	}
	if !c.json {
		fmt.Fprintln(a.stdout)
	}
	if c.detach {
		return a.detach(ctx, p, s, c)
	}
	view := a.newView(c.json, p)
	result, err := s.Apply(ctx, p, project.ApplyOptions{Parallel: c.parallel, Events: view.event})
	next, nextErr := s.Next(ctx, p, result, err)
	if err = view.end(ctx, result, err); next == nil || nextErr != nil {
		return errors.Join(err, nextErr)
	}
	a.continueOn(p, next, result == nil, err, c.json)
	c.yes = true // the plan that was confirmed has said so
	return a.carryOut(ctx, next, s, c)
}

// followAfter takes the steps of releases in progress, if there are any.
func (a *app) followAfter(ctx context.Context, w *project.Workspace, asJSON bool) error {
	all, err := w.Releases(ctx, "")
	if err != nil || !inProgress(all) {
		return err
	}
	if !asJSON {
		fmt.Fprint(a.stdout, "\nReleasing; an interrupt leaves it as it is, and tenon release run continues it.\n")
	}
	return a.follow(ctx, w, "", asJSON)
}

// detach starts a detached apply of a plan, and prints how to follow it.
func (a *app) detach(ctx context.Context, p *planner.Plan, s *project.Session, c consent) error {
	d, err := s.Detach(ctx, p, project.DetachOptions{Parallel: c.parallel, Args: runDetachedArgs})
	if err != nil {
		return err
	}
	if c.json {
		return a.printJSONLine(struct {
			Type string `json:"type"`
			*project.Detached
		}{"detached", d})
	}
	fmt.Fprintf(a.stdout, "\n%s as revision %d: Job %s in namespace %s runs independently of this machine.\n", a.paint("1;"+green, "Detached"), d.Revision, d.Job, d.Namespace)
	fmt.Fprint(a.stdout, "\n  tenon logs -f    follow its output\n  tenon status     show its progress\n  tenon cancel     stop it cleanly\n")
	return nil
}

// prepare makes or reads the plan, under the lock that the apply will hold. Release the
// session and close it.
func (a *app) prepare(ctx context.Context, target string, o project.PlanOptions, wait time.Duration) (_ *planner.Plan, s *project.Session, err error) {
	dir, saved := target, (*planner.Plan)(nil)
	if info, err := os.Stat(target); err == nil && info.Mode().IsRegular() {
		if len(o.Rerun)+len(o.Like)+len(a.tags) > 0 || o.Pull {
			return nil, nil, &usageError{errors.New("a saved plan is applied exactly: use --tag, --rerun, --like and --pull with tenon plan")}
		}
		if saved, err = a.readPlan(target); err != nil {
			return nil, nil, err
		}
		dir = saved.Dir
	}
	p, err := a.project(dir)
	if err != nil {
		return nil, nil, err
	}
	var r *compiler.Result
	if saved == nil {
		if r, err = p.Compile(ctx); err != nil {
			return nil, nil, err
		}
	}
	w, err := p.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if s, err = w.Lock(ctx, "tenon apply", wait); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(a.settleReleases(ctx, s), s.RecoverInfrastructure(ctx)); err != nil {
		return nil, nil, errors.Join(err, s.Release(ctx))
	}
	if saved != nil {
		if err := w.CheckData(ctx, saved); err != nil {
			return nil, nil, errors.Join(err, s.Release(ctx))
		}
		return saved, s, nil
	}
	plan, err := w.Plan(ctx, r, o)
	if err != nil {
		return nil, nil, errors.Join(err, s.Release(ctx))
	}
	return plan, s, nil
}

// settleReleases completes the end of releases before something is planned, so that the plan says
// what happens to the version that answers. If one cannot be ended, what is planned may be the
// remedy.
func (a *app) settleReleases(ctx context.Context, s *project.Session) error {
	err := s.SettleReleases(ctx, project.ApplyOptions{})
	if err != nil && ctx.Err() == nil && !errors.Is(err, state.ErrFenced) {
		fmt.Fprintf(a.stderr, "tenon: the end of a release was not completed: %v\n", err)
		return nil
	}
	return err
}

// readPlan reads a saved plan and chooses its environment.
func (a *app) readPlan(path string) (*planner.Plan, error) {
	p, err := planner.Read(path)
	if err != nil {
		return nil, err
	}
	if env, err := a.environment(); err != nil {
		return nil, err
	} else if env != "" && env != p.State.Env {
		return nil, &usageError{fmt.Errorf("%s is a plan for %s, not for the environment %s", path, state.EnvironmentNamed(p.State.Env), env)}
	}
	a.env = p.State.Env
	return p, nil
}

// errUnasked is the error for --json without --yes: a question would break the JSON.
var errUnasked = &usageError{errors.New("--json needs --yes: it cannot ask for confirmation")}

// confirm asks on the terminal, and fails if there is none.
func (a *app) confirm(question string) error {
	if !a.terminal {
		return &usageError{errors.New("cannot ask for confirmation without a terminal: use --yes")}
	}
	fmt.Fprintf(a.stdout, "\n%s Type \"yes\" to confirm: ", question)
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != "yes" {
		fmt.Fprintln(a.stdout, "Nothing was changed.")
		return errReported
	}
	return nil
}
