package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/budget"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A ProtectedError says why a protected environment may not be changed.
type ProtectedError struct {
	Env     string
	Reasons []string
	Hint    string // or ""
}

func (e *ProtectedError) Error() string {
	text := fmt.Sprintf("the environment %s is protected, and nothing was changed:", e.Env)
	for _, r := range e.Reasons {
		text += "\n  " + r
	}
	if e.Hint != "" {
		text += "\n" + e.Hint
	}
	return text
}

// CheckProtection returns a [ProtectedError] if this user or CI job may not apply a plan now, or
// not without further approvals. Without a plan, it is about destroying the environment.
func (w *Workspace) CheckProtection(ctx context.Context, p *planner.Plan) error {
	_, err := w.permit(ctx, p)
	return err
}

// permit is the one check of everything that changes an environment. It returns what the
// revision records about it, or nil if the environment is not protected.
//
// A plan is judged by the rules that it was made with. If it was made earlier, those that the
// sources have now count as well. Who may apply and how many must approve also follows from
// the rules of the last revision, so that nobody removes a rule alone. A freeze does not: it is
// lifted in the sources.
func (w *Workspace) permit(ctx context.Context, p *planner.Plan) (*protect.Record, error) {
	if w.set.Env == "" {
		return nil, nil
	}
	last, err := w.lastRules(ctx)
	if err != nil {
		return nil, err
	}
	all := []*protect.Rules{last.Unfrozen()}
	becomes := last
	switch {
	case p == nil:
		now, err := w.currentRules(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, now)
	case p.Saved != "":
		now, _, err := w.declaredRules(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, now)
	}
	if p != nil {
		all = append(all, p.Protect)
		if p.BackTo == 0 { // a rollback leaves the rules as they are
			becomes = p.Protect
		}
	}
	all = slices.DeleteFunc(all, func(r *protect.Rules) bool { return r == nil })
	if len(all) == 0 {
		return nil, nil
	}
	by, err := w.set.identity()
	if err != nil {
		return nil, &ProtectedError{w.set.Env, []string{err.Error()}, ""}
	}
	record := &protect.Record{By: by, Rules: becomes}
	var reasons []string
	for _, r := range all {
		for _, reason := range r.Forbids(by, time.Now()) {
			if !slices.Contains(reasons, reason) {
				reasons = append(reasons, reason)
			}
		}
	}
	hint := ""
	if needed := protect.Needed(all...); needed > 0 {
		if record.Approvals, err = w.approvals(ctx, p, by); err != nil {
			return nil, err
		}
		if n := len(record.Approvals); n < needed {
			reasons = append(reasons, fmt.Sprintf("it needs %s of others than %s, but has %d", counted(needed, "approval"), by, n))
			hint = w.howToApprove(p)
		}
	}
	if len(reasons) > 0 {
		return nil, &ProtectedError{w.set.Env, reasons, hint}
	}
	return record, nil
}

// permitStep is permit for a step of a release: it was approved, and began outside of a freeze,
// with the apply that began it. In a freeze, too, a release can be ended.
func (w *Workspace) permitStep(ctx context.Context) (*protect.Record, error) {
	last, err := w.lastRules(ctx)
	if err != nil || last == nil {
		return nil, err
	}
	by, err := w.set.identity()
	if err != nil {
		return nil, &ProtectedError{w.set.Env, []string{err.Error()}, ""}
	}
	if reasons := (&protect.Rules{Who: last.Who}).Forbids(by, time.Now()); len(reasons) > 0 {
		return nil, &ProtectedError{w.set.Env, reasons, ""}
	}
	return &protect.Record{By: by, Rules: last}, nil
}

// approvals returns the approvals of a plan that count if a person or job applies it. A plan that
// was not saved has none. Without a plan, they are those of a destroy.
func (w *Workspace) approvals(ctx context.Context, p *planner.Plan, by string) ([]protect.Approval, error) {
	digest := ""
	if p != nil {
		digest = p.Saved
	} else if meta, err := w.store.Meta(ctx); err != nil {
		return nil, err
	} else {
		digest = destroyDigest(meta)
	}
	if digest == "" {
		return nil, nil
	}
	all, err := w.store.Approvals(ctx, digest)
	return protect.Others(all, by), err
}

// destroyDigest stands for the digest of a plan in the approval of a destroy. It removes what is
// deployed now, so it changes with every change of the environment.
func destroyDigest(m state.Meta) string {
	return ir.Sum(fmt.Appendf(nil, "destroy %s %s at %d", m.Lineage, m.Env, m.Serial))
}

// ToDestroy returns what a destroy removes now, and a digest of that for [Project.Approve].
func (w *Workspace) ToDestroy(ctx context.Context) (units []string, digest string, err error) {
	meta, err := w.store.Meta(ctx) // first, so that the digest is never newer than the units
	if err != nil {
		return nil, "", err
	}
	units, err = w.Deployed(ctx)
	return units, destroyDigest(meta), err
}

func (w *Workspace) howToApprove(p *planner.Plan) string {
	env := w.set.Env
	save := "tenon plan -e " + env
	switch {
	case p == nil:
		return fmt.Sprintf("let somebody else run tenon approve --destroy -e %s, and run tenon destroy -e %[1]s then", env)
	case p.Saved != "":
		return "let somebody else run tenon approve with this file, and apply it then"
	case p.From != nil:
		save = fmt.Sprintf("tenon promote %s %s", p.From.Env, env)
	case p.BackTo > 0:
		save = fmt.Sprintf("tenon rollback @%d -e %s", p.BackTo, env)
	}
	return fmt.Sprintf("save the plan with %s --out %s.plan, let somebody else run tenon approve %[2]s.plan, and run tenon apply %[2]s.plan", save, env)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// lastRules returns the rules that the environment has had since its last revision, or nil.
func (w *Workspace) lastRules(ctx context.Context) (*protect.Rules, error) {
	return lastRules(ctx, w.store)
}

func lastRules(ctx context.Context, s *state.Store) (*protect.Rules, error) {
	last, err := s.Revisions(ctx, 1)
	if err != nil || len(last) == 0 || last[0].Protection == nil {
		return nil, err
	}
	return last[0].Protection.Rules, nil
}

// currentRules returns the rules for what is not made from the sources: those that they have, or,
// if that is not known, those of the last revision.
func (w *Workspace) currentRules(ctx context.Context) (*protect.Rules, error) {
	rules, known, err := w.declaredRules(ctx)
	if err != nil || known {
		return rules, err
	}
	return w.lastRules(ctx)
}

// declaredRules returns the rules that the sources have now. They are not known if the sources
// are not here, cannot be read, or no longer declare the environment.
func (p *Project) declaredRules(ctx context.Context) (_ *protect.Rules, known bool, err error) {
	if p.set.Env == "" {
		return nil, true, nil
	}
	c := p.compilation(p.set.Tags, nil)
	limits, err := c.limits()
	if err != nil {
		return nil, false, err
	}
	type read struct{ rules *protect.Rules }
	found, err := budget.Run(ctx, limits, func() (*read, error) {
		sys, err := lang.Load(c.dir, lang.Options{Tags: c.tags, Environment: c.env, Env: c.environ})
		if err != nil {
			return nil, err
		}
		return &read{sys.Protect}, nil
	})
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	if err != nil {
		return nil, false, nil
	}
	return found.rules, true, nil
}

// An Approved is a plan, or a destroy, that somebody has approved.
type Approved struct {
	Plan      string             `json:"plan"` // its digest
	Env       string             `json:"env"`
	By        string             `json:"by"`
	Approvals []protect.Approval `json:"approvals"` // all of the plan
	Needed    int                `json:"needed"`
}

// Approve records that this user or CI job approves a saved plan. The state must be the one that
// the plan was made with, and must not have changed since. Without a plan, it approves to destroy
// what is deployed in the environment: what a person saw, by the digest of [Workspace.ToDestroy],
// or with "" what is there now.
func (p *Project) Approve(ctx context.Context, plan *planner.Plan, seen string) (_ *Approved, err error) {
	if p.set.Env == "" {
		return nil, &RequestError{errors.New("the environment without a name cannot be protected: nothing in it needs an approval")}
	}
	by, err := p.set.identity()
	if err != nil {
		return nil, err
	}
	dir, err := p.stateDir()
	if err != nil {
		return nil, err
	}
	if there, err := p.hasState(ctx); err != nil {
		return nil, err
	} else if !there {
		return nil, fmt.Errorf("no state in %s: name the one that is to change with --state", state.Shown(p.location(dir)))
	}
	s, err := p.openState(ctx, dir, !p.Shared())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	meta, err := s.Meta(ctx)
	switch {
	case err != nil:
		return nil, err
	case plan == nil && seen != "" && seen != destroyDigest(meta):
		return nil, fmt.Errorf("the environment %s has changed since it was shown: run tenon approve --destroy again", p.set.Env)
	case plan == nil:
	case meta.Lineage != plan.State.Lineage:
		return nil, fmt.Errorf("the plan was made with another state than %s: name that one with --state", s.Where())
	case meta.Serial != plan.State.Serial:
		return nil, fmt.Errorf("the environment %s has changed since the plan was made: it cannot be applied any more, so plan again", p.set.Env)
	}
	last, err := lastRules(ctx, s)
	if err != nil {
		return nil, err
	}
	a := &Approved{Env: p.set.Env, By: by}
	if plan != nil {
		a.Plan, a.Needed = plan.Saved, protect.Needed(plan.Protect, last)
	} else {
		declared, _, err := p.declaredRules(ctx)
		if err != nil {
			return nil, err
		}
		a.Plan, a.Needed = destroyDigest(meta), protect.Needed(declared, last)
	}
	if err := s.Approve(ctx, a.Plan, protect.Approval{By: by, At: time.Now()}); err != nil {
		return nil, err
	}
	a.Approvals, err = s.Approvals(ctx, a.Plan)
	return a, err
}

// By says who changed a protected environment and who approved that, or is empty.
func (r Revision) By() string {
	if r.Protection == nil {
		return ""
	}
	text := "by " + r.Protection.By
	var others []string
	for _, a := range r.Protection.Approvals {
		others = append(others, a.By)
	}
	if len(others) > 0 {
		text += ", approved by " + strings.Join(others, " and ")
	}
	return text
}
