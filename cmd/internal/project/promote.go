package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Promotion is what to promote: one system, compiled for two environments.
type Promotion struct {
	From     string
	Was      *compiler.Result // for From
	Becomes  *compiler.Result // for the environment of the workspace
	AllowRun bool             // jobs may run that From has not run
	Options  PlanOptions
}

// CompileFor compiles the system for another environment.
func (p *Project) CompileFor(ctx context.Context, env string) (*compiler.Result, error) {
	return p.inEnv(env).Compile(ctx)
}

// A PromotionError says why a promotion would not deploy what another environment has proven.
type PromotionError struct {
	What    string   // "prod would run 2 jobs that dev has not run"
	Reasons []string // one per unit
	Hint    string
}

func (e *PromotionError) Error() string {
	text := e.What + ":"
	for _, r := range e.Reasons {
		text += "\n  " + r
	}
	return text + "\n" + e.Hint
}

// PlanPromotion returns a plan that deploys in this environment what is deployed in another
// one. It returns a [PromotionError] if that one does not have what the sources say, or, unless
// o allows it, if a job would have to run.
func (w *Workspace) PlanPromotion(ctx context.Context, o Promotion) (*planner.Plan, error) {
	from := w.in(o.From)
	if err := from.checkExists(ctx); err != nil {
		return nil, err
	}
	last, err := from.store.Revisions(ctx, 1)
	if err != nil {
		return nil, err
	}
	if len(last) == 0 {
		return nil, fmt.Errorf("nothing has been applied yet in the environment %s; run tenon apply -e %[1]s", o.From)
	}
	proven, err := from.Plan(ctx, o.Was, PlanOptions{})
	if err != nil {
		return nil, err
	}
	current, err := from.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	if reasons := notDeployed(proven, current); len(reasons) > 0 {
		return nil, &PromotionError{
			What:    fmt.Sprintf("%s does not have what the sources say", o.From),
			Reasons: reasons,
			Hint:    fmt.Sprintf("apply them there first with tenon apply -e %s, or check out the sources that are deployed", o.From),
		}
	}
	if reasons := notChampion(current); len(reasons) > 0 {
		return nil, &PromotionError{
			What:    fmt.Sprintf("%s has not decided yet", o.From),
			Reasons: reasons,
			Hint:    fmt.Sprintf("wait for the end of the release, or decide with tenon release next --to 100 -e %s; to promote the champion, run tenon release abort -e %[1]s and check out its sources", o.From),
		}
	}
	o.Options.Infrastructure = true
	p, err := w.Plan(ctx, o.Becomes, o.Options)
	if err != nil {
		return nil, err
	}
	p.From = &planner.Origin{Env: o.From, Revision: last[0].Number}
	if o.AllowRun {
		return p, nil
	}
	reasons, err := w.unproven(ctx, p, current)
	if err != nil {
		return nil, err
	}
	if len(reasons) > 0 {
		return nil, &PromotionError{
			What:    fmt.Sprintf("%s would need results that %s does not have", w.set.Env, o.From),
			Reasons: reasons,
			Hint:    "use --run to run them there",
		}
	}
	return p, nil
}

// notDeployed says, by unit, what an environment lacks of its system. A service that died is
// not missing: its definition is proven.
func notDeployed(p *planner.Plan, current map[string]state.Current) (reasons []string) {
	for _, i := range p.Items {
		u := p.System.Unit(i.Unit)
		switch c, deployed := current[i.Unit]; {
		case u == nil:
			reasons = append(reasons, fmt.Sprintf("%s: it is deployed, but no longer declared", i.Unit))
		case !deployed:
			reasons = append(reasons, fmt.Sprintf("%s: it is not deployed", i.Unit))
		case i.Rejected != "":
			reasons = append(reasons, fmt.Sprintf("%s: %s", i.Unit, i.Rejected))
		case c.Definition != u.Digest, u.Kind == ir.Job && (i.Action.Changes() || i.Restores()), u.Kind == ir.Service && c.Key != i.Key:
			reasons = append(reasons, fmt.Sprintf("%s: %s", i.Unit, why(i)))
		}
	}
	return reasons
}

// notChampion says, by unit, which versions of services a release still tries.
func notChampion(current map[string]state.Current) (reasons []string) {
	for unit, c := range current {
		if c.Route.Releasing() {
			v := c.Route.Challenger()
			reasons = append(reasons, fmt.Sprintf("%s: the release of %s is in progress: it answers %d %% of the requests", unit, v.Name, v.Weight))
		}
	}
	slices.Sort(reasons)
	return reasons
}

// unproven says, by unit, which jobs a plan runs, and which results it takes that are not those
// of the other environment.
func (w *Workspace) unproven(ctx context.Context, p *planner.Plan, current map[string]state.Current) (reasons []string, err error) {
	for _, i := range p.Items {
		if i.Kind != ir.Job || i.Action == planner.Delete {
			continue
		}
		c, known := current[i.Unit]
		switch {
		case i.Action.Changes():
			reasons = append(reasons, fmt.Sprintf("%s: %s", i.Unit, why(i)))
		case known && c.Key == i.Key && c.Run != i.Run:
			same, err := w.sameResult(ctx, c.Run, i.Run)
			if err != nil {
				return nil, err
			}
			if !same {
				reasons = append(reasons, fmt.Sprintf("%s: it was run again since, with another result", i.Unit))
			}
		}
	}
	return reasons, nil
}

// sameResult reports whether two runs made the same. A plan names no run for what is current.
func (w *Workspace) sameResult(ctx context.Context, a, b int64) (bool, error) {
	if b == 0 {
		return true, nil
	}
	one, err := w.store.Run(ctx, a)
	if err != nil {
		return false, err
	}
	other, err := w.store.Run(ctx, b)
	if errors.Is(err, state.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for port, x := range one.Outputs {
		if other.Outputs[port].Digest != x.Digest {
			return false, nil
		}
	}
	return true, nil
}

// why joins the reasons of an item.
func why(i planner.Item) string {
	var all []string
	for _, r := range i.Reasons {
		text := r.What
		switch {
		case r.Before != "" && r.After != "":
			text += ": " + short(r.Before) + " -> " + short(r.After)
		case r.After != "":
			text += ": " + short(r.After)
		case r.Before != "":
			text += ": was " + short(r.Before)
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return string(i.Action)
	}
	if i.Unless && !slices.Contains(all, "new") {
		all = append(all, "unless its inputs turn out unchanged")
	}
	return strings.Join(all, "; ")
}

// short makes one line of a value.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}
