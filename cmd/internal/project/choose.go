package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A choosing is what a plan is chosen from, and which targets turned out to lack what it needs.
type choosing struct {
	from    *compiler.Result
	options PlanOptions
	lacked  map[string]string // why, by target
	waited  time.Duration     // for quotas
}

// Plan compares a compiled system with the state. If the system may run on several targets, it makes the plan for each, and
// returns that for the cheapest one that can be used.
func (w *Workspace) Plan(ctx context.Context, r *compiler.Result, o PlanOptions) (*planner.Plan, error) {
	if r.Choice == "" {
		return w.planOn(ctx, r, o)
	}
	w.choosing = &choosing{from: r, options: o, lacked: map[string]string{}}
	return w.choose(ctx)
}

// Next returns the plan for the next target of a choice, if the last apply failed because the target of p lacks capacity
// or a quota is too small, and nil otherwise. Each target is tried once. The plan for a saved file has no other target.
func (s *Session) Next(ctx context.Context, p *planner.Plan, result *executors.Result, failed error) (*planner.Plan, error) {
	lacks := executors.Lacking(result, failed)
	if s.choosing == nil || p.Choice == nil || lacks == nil || len(p.Choice.Next()) == 0 || ctx.Err() != nil {
		return nil, nil
	}
	s.choosing.lacked[p.System.Target.Name] = "an apply has just failed there: " + oneLine(lacks.Error())
	next, err := s.choose(ctx)
	if next != nil {
		next.From = p.From
	}
	return next, err
}

// choose makes the plan for each target that may be chosen, and returns one of them.
func (w *Workspace) choose(ctx context.Context) (*planner.Plan, error) {
	c := w.choosing
	c.waited = 0
	kept, why, services, err := w.keeps(ctx)
	if err != nil {
		return nil, err
	}
	var options []planner.Option
	var errs []error
	plans := map[string]*planner.Plan{}
	for i := range c.from.Candidates {
		k := &c.from.Candidates[i]
		option := planner.Option{Target: k.Target.Name, Executor: k.Target.Executor, Skipped: k.Refused}
		if option.Skipped == "" {
			option.Skipped = cmp.Or(c.lacked[k.Target.Name], c.stays(services, k))
		}
		if option.Skipped == "" {
			p, standing, err := w.planFor(ctx, k)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				option.Skipped = oneLine(err.Error())
				errs = append(errs, fmt.Errorf("%s: %w", k.Target.Name, err))
			} else {
				plans[k.Target.Name] = p
				option = planner.NewOption(p, standing)
				option.Skipped = unusable(p)
				option.Unpriced = option.Costs == nil && all.InCloud(k.Target)
			}
		} else {
			errs = append(errs, fmt.Errorf("%s: %s", k.Target.Name, option.Skipped))
		}
		options = append(options, option)
	}
	if len(plans) == 0 {
		return nil, fmt.Errorf("no target of %s can be used: %w", c.from.Choice, errors.Join(errs...))
	}
	planner.Choose(options, kept)
	for _, option := range options {
		p := plans[option.Target]
		if p == nil {
			continue
		}
		p.Choice = &planner.Choice{Of: c.from.Choice, Target: option.Target, Why: "it is the cheapest", Options: options}
		switch {
		case option.Skipped != "":
			p.Choice.Why = "none can be used"
		case option.Target == kept:
			p.Choice.Why = why
		case option.Costs == nil:
			p.Choice.Why = "no pool of it has a price"
		}
		if c.options.Infrastructure {
			p.Infrastructure, err = w.planInfrastructure(ctx, p.System)
		}
		return p, err
	}
	return nil, errors.New("no target was planned for")
}

// planFor makes the plan for a candidate, without its infrastructure: to compare that takes minutes, and only that of the
// chosen one counts. It returns an error if that infrastructure cannot be planned for, such as because that of the environment
// is in another place. If Tenon would make the infrastructure, it also returns what that costs while nothing runs.
func (w *Workspace) planFor(ctx context.Context, k *compiler.Candidate) (*planner.Plan, *planner.Standing, error) {
	o := w.choosing.options
	on := w.choosing.from.On(k)
	var standing *planner.Standing
	if o.Infrastructure {
		var unmanaged *errUnmanaged
		switch makes, err := w.provisioner(ctx, k.Target); {
		case err != nil && !errors.As(err, &unmanaged):
			return nil, nil, err
		case err == nil && makes != nil:
			if standing, err = all.Standing(on.System); err != nil {
				return nil, nil, err
			}
		}
	}
	o.Infrastructure, o.Quotas = false, true
	p, err := w.planOn(ctx, on, o)
	if err == nil {
		p.Warnings = append(p.Warnings, k.Warnings...)
	}
	return p, standing, err
}

// stays says why a candidate is left out because of services on another one, or returns "". A plan moves services from
// one executor to another. It does not see that they are elsewhere if that has the same executor with other settings.
func (c *choosing) stays(services map[string]string, k *compiler.Candidate) string {
	for i := range c.from.Candidates {
		other := &c.from.Candidates[i].Target
		unit := services[other.Name]
		if unit == "" || other.Name == k.Target.Name || other.Executor != k.Target.Executor || reflect.DeepEqual(other.Settings, k.Target.Settings) {
			continue
		}
		return fmt.Sprintf("%s runs on %s, and services do not move between two targets of the same kind: run tenon destroy first", unit, other.Name)
	}
	return ""
}

// unusable says why an apply of a plan would be refused, or returns "".
func unusable(p *planner.Plan) string {
	if p.Quotas != nil && p.Quotas.Lacking != "" {
		return oneLine(p.Quotas.Lacking)
	}
	if err := p.CheckBudget(); err != nil {
		return oneLine(err.Error())
	}
	return ""
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// keeps returns the target that a plan keeps although another may be cheaper, with the reason, or "": an interrupted
// apply continues where it began, and services do not move because of a price. services has, by target, a service that runs
// there.
func (w *Workspace) keeps(ctx context.Context) (target, why string, services map[string]string, err error) {
	last, err := w.store.Revisions(ctx, 1)
	if err != nil || len(last) == 0 {
		return "", "", nil, err
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return "", "", nil, err
	}
	newest, services := 0, map[string]string{}
	for _, unit := range slices.Sorted(maps.Keys(current)) {
		c := current[unit]
		if c.Handle == nil {
			continue
		}
		r, err := w.store.Revision(ctx, c.Revision)
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return "", "", nil, err
		}
		services[r.Target] = unit
		if c.Revision > newest {
			newest, target, why = c.Revision, r.Target, unit+" runs there"
		}
	}
	if last[0].Outcome == state.Started {
		target, why = last[0].Target, fmt.Sprintf("revision @%d began there and was interrupted", last[0].Number)
	}
	return target, why, services, nil
}

// quotaPatience is how long a plan waits for platforms to say their limits, for all targets of a choice together.
const quotaPatience = 20 * time.Second

// quotas asks the platform whether its limits allow what a plan runs. A plan does not depend on an answer.
func (w *Workspace) quotas(ctx context.Context, p *planner.Plan) (*planner.Quotas, error) {
	setup, err := w.setup(ctx, p.System.Name)
	if err != nil {
		return nil, err
	}
	x, err := all.New(p.System.Target, setup)
	if err != nil {
		return nil, err
	}
	patience := quotaPatience
	if c := w.choosing; c != nil {
		patience = max(patience-c.waited, time.Second).Round(time.Second)
		began := time.Now()
		defer func() { c.waited += time.Since(began) }()
	}
	within, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("there was no answer within %s", patience))
	defer cancel()
	asked, err := executors.Admit(within, p, x)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case executors.Lacking(nil, err) != nil:
		return &planner.Quotas{Lacking: err.Error()}, nil
	case err != nil && within.Err() != nil:
		return &planner.Quotas{Unchecked: context.Cause(within).Error()}, nil
	case err != nil:
		return &planner.Quotas{Unchecked: oneLine(err.Error())}, nil
	case asked:
		return &planner.Quotas{}, nil
	}
	return nil, nil
}
