package project

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// protected locks the environment prod of a new state, whose last revision had the rules.
func protected(t *testing.T, rules *protect.Rules) *Session {
	t.Helper()
	p := quiet(t, t.TempDir())
	p.set.Env, p.set.Environ = "prod", nil
	w, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	s, err := w.Lock(t.Context(), "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Release(t.Context()) })
	if _, err := s.lease.BeginRevision(t.Context(), state.Revision{Protection: &protect.Record{By: "ann", Rules: rules}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// The engine itself refuses every way to change a protected environment.
func TestTheEngineKeepsTheRules(t *testing.T) {
	s := protected(t, &protect.Rules{Who: []string{"nobody of this name"}})
	ctx := t.Context()
	plan := &planner.Plan{System: &ir.System{}}
	for name, change := range map[string]func() error{
		"apply": func() error { _, err := s.Apply(ctx, plan, ApplyOptions{}); return err },
		"rollback": func() error {
			_, err := s.Apply(ctx, &planner.Plan{System: &ir.System{}, BackTo: 1}, ApplyOptions{})
			return err
		},
		"detached apply":    func() error { _, err := s.Detach(ctx, plan, DetachOptions{}); return err },
		"destroy":           func() error { _, err := s.Destroy(ctx, ApplyOptions{}); return err },
		"step of a release": func() error { _, _, err := s.releasePlan(ctx, nil, nil, ApplyOptions{}); return err },
	} {
		var refused *ProtectedError
		if err := change(); !errors.As(err, &refused) || refused.Env != "prod" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Approvals count for the plan and the environment that they were given for, and never if the
// one who applies gave them.
func TestApprovalsOfAPlan(t *testing.T) {
	s := protected(t, nil)
	ctx := t.Context()
	approve := func(env, plan, by string) {
		t.Helper()
		if err := s.store.In(env).Approve(ctx, plan, protect.Approval{By: by, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	const plan = "sha256:plan"
	two := &protect.Rules{Approvals: 2}
	allowed := func(saved string) bool {
		t.Helper()
		_, err := s.permit(ctx, &planner.Plan{Protect: two, Saved: saved})
		if refused := (*ProtectedError)(nil); err != nil && !errors.As(err, &refused) {
			t.Fatal(err)
		}
		return err == nil
	}
	approve("prod", plan, protect.User())
	approve("prod", plan, "bob")
	approve("prod", "sha256:other", "eve")
	approve("dev", plan, "eve")
	if allowed(plan) {
		t.Error("one's own approval, that of another plan or that of another environment counts")
	}
	approve("prod", plan, "eve")
	if !allowed(plan) {
		t.Error("two others approved, and it is refused")
	}
	if allowed("") {
		t.Error("a plan that was not saved has approvals")
	}
	record, err := s.permit(ctx, &planner.Plan{Protect: two, Saved: plan})
	if err != nil {
		t.Fatal(err)
	}
	if len(record.Approvals) != 2 || record.By != protect.User() || record.Rules != two {
		t.Errorf("the revision records %+v", record)
	}
}

// Who may change the environment follows from the rules before and after the change, a freeze
// from those after it.
func TestAChangeOfTheRules(t *testing.T) {
	me, now := protect.User(), time.Now()
	frozen := []protect.Window{{From: now.Add(-time.Hour).Format(time.RFC3339), To: now.Add(time.Hour).Format(time.RFC3339)}}
	for _, c := range []struct {
		name        string
		last, plans *protect.Rules
		allowed     bool
	}{
		{"none", nil, nil, true},
		{"rules are added", nil, &protect.Rules{Who: []string{me}}, true},
		{"rules that exclude who adds them", nil, &protect.Rules{Who: []string{"ann"}}, false},
		{"the one who may removes them", &protect.Rules{Who: []string{me}}, nil, true},
		{"another removes them", &protect.Rules{Who: []string{"ann"}}, nil, false},
		{"another allows it to himself", &protect.Rules{Who: []string{"ann"}}, &protect.Rules{Who: []string{"ann", me}}, false},
		{"approvals are removed alone", &protect.Rules{Approvals: 1}, nil, false},
		{"a freeze is lifted", &protect.Rules{Freeze: frozen}, nil, true},
		{"a freeze is added", nil, &protect.Rules{Freeze: frozen}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := protected(t, c.last).permit(t.Context(), &planner.Plan{Protect: c.plans})
			if refused := (*ProtectedError)(nil); (err == nil) != c.allowed || err != nil && !errors.As(err, &refused) {
				t.Errorf("got %v, allowed: %v", err, c.allowed)
			}
		})
	}
}

// Where no sources are, what is made from them has the rules of its plan, and a destroy and a
// rollback those of the last revision, with its freeze.
func TestRulesWithoutSources(t *testing.T) {
	now := time.Now()
	frozen := &protect.Rules{Freeze: []protect.Window{{From: now.Add(-time.Hour).Format(time.RFC3339), To: now.Add(time.Hour).Format(time.RFC3339)}}}
	s := protected(t, frozen)
	if err := s.CheckProtection(t.Context(), &planner.Plan{Saved: "sha256:plan"}); err != nil {
		t.Errorf("a saved plan that lifts the freeze: %v", err)
	}
	var refused *ProtectedError
	if err := s.CheckProtection(t.Context(), nil); !errors.As(err, &refused) {
		t.Errorf("a destroy in the freeze: %v", err)
	}
	if rules, err := s.currentRules(t.Context()); err != nil || rules == nil || len(rules.Freeze) != 1 {
		t.Errorf("a rollback has the rules %v (%v)", rules, err)
	}
}

// A saved plan is judged by the rules of the sources, too, where they can be read.
func TestASavedPlanIsJudgedByTheSources(t *testing.T) {
	s := protected(t, nil)
	saved := &planner.Plan{Saved: "sha256:plan"}
	if err := s.CheckProtection(t.Context(), saved); err != nil {
		t.Errorf("without sources: %v", err)
	}
	for name, text := range map[string]string{
		"cue.mod/module.cue": "module: \"example.com/x\"\nlanguage: version: \"v0.14.0\"\n",
		"a.cue":              "package x\n\nenvironments: prod: protect: who: [\"ann\"]\n",
	} {
		path := filepath.Join(s.set.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, text)
	}
	var refused *ProtectedError
	if err := s.CheckProtection(t.Context(), saved); !errors.As(err, &refused) {
		t.Errorf("the sources let only ann change it: %v", err)
	}
}

// An approval of a destroy is for what was shown, and nothing that was deployed meanwhile.
func TestADestroyIsApprovedAsItWasShown(t *testing.T) {
	s := protected(t, &protect.Rules{Approvals: 1})
	ctx := t.Context()
	_, seen, err := s.ToDestroy(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Project.Approve(ctx, nil, seen); err != nil {
		t.Error(err)
	}
	if _, err := s.lease.BeginRevision(ctx, state.Revision{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Project.Approve(ctx, nil, seen); err == nil || !strings.Contains(err.Error(), "prod has changed since it was shown") {
		t.Errorf("error %v", err)
	}
	if _, err := s.Project.Approve(ctx, nil, ""); err != nil {
		t.Error(err)
	}
}
