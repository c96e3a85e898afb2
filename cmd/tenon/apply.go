package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

func applyCommand(a *app) *cobra.Command {
	var o consent
	var how planning
	var wait time.Duration
	var audit float64
	c := &cobra.Command{
		Use: "apply [DIR | PLANFILE]", Short: "Make the system so", Args: atMost(1, "one folder or plan file"),
		Long: `Plans, asks, and does what the plan says: as much side by side as the declared
resources allow, the longest way first. What was done before and still holds is
reused. A unit that fails stops what depends on it and nothing else. After an
interrupt or a failure, the next apply goes on from there.

A plan file made with tenon plan --out is applied exactly, or refused if the
state has moved since.

With --audit some of what would be reused is run again and compared, byte by
byte. What stands is not touched; a unit that comes out otherwise is said to be
not deterministic from then on.

With --detach the plan is applied in the cluster of its target, and this machine is
not needed any more: tenon logs -f follows it, tenon status tells how far it is, and
tenon cancel ends it. The state and the artifacts have to be where the cluster
reaches them.`,
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
				return &usageError{fmt.Errorf("--audit takes a share between 0 and 1, not %v", audit)}
			}
			p, w, lease, err := a.prepare(ctx, folder(args), how, wait)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			defer func() { err = errors.Join(err, lease.Release(context.WithoutCancel(ctx))) }()
			if audit > 0 && p.BackTo > 0 {
				return &usageError{errors.New("a rollback carries only the code that it starts: audit after it, with tenon apply --audit")}
			}
			if audit > 0 && o.detach {
				return &usageError{errors.New("--audit compares bytes on this machine: it does not go with --detach")}
			}
			p.Audit(audit, rand.Float64)
			return a.carryOut(ctx, p, w, lease, o)
		},
	}
	a.systemFlags(c)
	o.flags(c)
	c.Flags().BoolVar(&o.detach, "detach", false, "let the cluster of the target apply the plan, and return")
	c.Flags().Float64Var(&audit, "audit", 0, "run this `SHARE` of what is reused again, and compare: 0.1 is a tenth")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for another apply to end")
	how.flags(c)
	return c
}

// A consent is how a plan is carried out.
type consent struct {
	yes, json bool
	detach    bool // in the cluster
	parallel  int
}

func (o *consent) flags(c *cobra.Command) {
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&o.json, "json", false, "print one event a line, as JSON; needs --yes")
	c.Flags().IntVarP(&o.parallel, "parallel", "p", 0, "run at most `N` units at once (0: as resources allow)")
}

// carryOut shows a plan, asks, and does what it says.
func (a *app) carryOut(ctx context.Context, p *planner.Plan, w *workspace, lease *state.Lease, c consent) error {
	if c.detach {
		if err := a.detachable(ctx, p, w); err != nil {
			return err
		}
	}
	if !c.json {
		if err := a.printPlan(p, false); err != nil {
			return err
		}
	}
	audits := slices.ContainsFunc(p.Items, func(i planner.Item) bool { return i.Audit })
	// What a killed apply left is ended also where nothing changes, unasked.
	unfinished, err := executors.Unfinished(ctx, w.store)
	if err != nil {
		return err
	}
	if !p.Changes() && !audits && !unfinished {
		if c.json {
			return a.printJSONLine(event{Type: "nothing"})
		}
		return nil
	}
	if err := checkSecrets(p); err != nil {
		return err
	}
	if !c.yes && (p.Changes() || audits) {
		if err := a.confirm("Apply this plan?"); err != nil {
			return err
		}
	}
	if !c.json {
		fmt.Fprintln(a.stdout)
	}
	if err := w.artifacts.Look(ctx); err != nil {
		return err
	}
	if c.detach {
		return a.detach(ctx, p, w, lease, c)
	}
	if err := a.endDetached(ctx, w); err != nil {
		return err
	}
	view := a.newView(c.json, p)
	in, err := w.setting(ctx, p.System.Name)
	if err != nil {
		return err
	}
	o, err := a.options(w, lease, p.System.Target, in, view.event)
	if err != nil {
		return err
	}
	o.Parallel, o.Commit = c.parallel, gitCommit(p.Dir)
	result, err := executors.Apply(ctx, p, o)
	return view.end(ctx, result, err)
}

// checkSecrets finds the secrets of what will run before any of it does.
func checkSecrets(p *planner.Plan) error {
	var errs []error
	for _, i := range p.Items {
		u := p.System.Unit(i.Unit)
		if u == nil || !i.Action.Changes() && !i.Audit {
			continue
		}
		for _, s := range u.Secrets {
			if s.Kubernetes != nil {
				continue // the cluster says so where it is not there
			}
			if _, err := resolveSecret(s); err != nil {
				errs = append(errs, fmt.Errorf("%s: secret %s: %w", u.ID, s.Name, err))
			}
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("nothing was done, for want of secrets:\n%w", errors.Join(errs...))
	}
	return nil
}

// prepare makes or reads the plan, under the lock that the apply will hold.
func (a *app) prepare(ctx context.Context, target string, o planning, wait time.Duration) (_ *planner.Plan, _ *workspace, lease *state.Lease, err error) {
	dir, saved := target, (*planner.Plan)(nil)
	if info, err := os.Stat(target); err == nil && info.Mode().IsRegular() {
		if len(o.rerun) > 0 || len(a.tags) > 0 || o.pull {
			return nil, nil, nil, &usageError{errors.New("a saved plan is applied exactly: --tag, --rerun and --pull go with tenon plan")}
		}
		if saved, err = planner.Read(target); err != nil {
			return nil, nil, nil, err
		}
		dir = saved.Dir
	}
	var r *compiler.Result
	if saved == nil {
		if r, err = a.compile(ctx, dir); err != nil {
			return nil, nil, nil, err
		}
	}
	w, err := a.open(ctx, dir)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if lease, err = a.lock(ctx, w, "tenon apply", wait); err != nil {
		return nil, nil, nil, err
	}
	if saved != nil {
		return saved, w, lease, nil
	}
	p, err := a.plan(ctx, dir, w, r, o)
	if err != nil {
		return nil, nil, nil, errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
	}
	return p, w, lease, nil
}

// errUnasked is what --json without --yes gets: a question would spoil the JSON.
var errUnasked = &usageError{errors.New("--json asks nothing: it needs --yes")}

// confirm asks on the terminal, and refuses where nobody can answer.
func (a *app) confirm(question string) error {
	if !a.terminal {
		return &usageError{errors.New("nobody is here to confirm: run it with --yes")}
	}
	fmt.Fprintf(a.stdout, "\n%s Only \"yes\" is taken: ", question)
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != "yes" {
		fmt.Fprintln(a.stdout, "Nothing was done.")
		return errSaid
	}
	return nil
}

// gitCommit is the commit that the system's folder is at, or "".
func gitCommit(dir string) string {
	cmd := exec.Command("git", "-C", dir, "rev-parse", "HEAD")
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0")
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
