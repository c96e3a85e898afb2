package state_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/planner/state"
)

// An approval belongs to one plan in one environment, counts once, and leaves plans valid.
func TestApprovals(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		prod := s.In("prod")
		before := must[state.Meta](t)(prod.Meta(ctx))
		bob, eve := protect.Approval{By: "bob", At: noon}, protect.Approval{By: "eve", At: noon.Add(time.Minute)}
		ok(t, prod.Approve(ctx, "sha256:plan", eve))
		ok(t, prod.Approve(ctx, "sha256:plan", bob))
		ok(t, prod.Approve(ctx, "sha256:plan", protect.Approval{By: "bob", At: noon.Add(time.Hour)}))
		if d := cmp.Diff([]protect.Approval{bob, eve}, must[[]protect.Approval](t)(prod.Approvals(ctx, "sha256:plan"))); d != "" {
			t.Errorf("approvals (-want +got):\n%s", d)
		}
		if a := must[[]protect.Approval](t)(prod.Approvals(ctx, "sha256:other")); len(a) > 0 {
			t.Errorf("another plan has the approvals %v", a)
		}
		if a := must[[]protect.Approval](t)(s.In("dev").Approvals(ctx, "sha256:plan")); len(a) > 0 {
			t.Errorf("another environment has the approvals %v", a)
		}
		if after := must[state.Meta](t)(prod.Meta(ctx)); after != before {
			t.Errorf("an approval changed %+v to %+v: saved plans are refused", before, after)
		}
	})
}

// A revision records who changed a protected environment, and its rules.
func TestRevisionsRecordProtection(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	l := lock(t, s)
	want := &protect.Record{By: "ann", Approvals: []protect.Approval{{By: "bob", At: noon}}, Rules: &protect.Rules{Approvals: 1}}
	n := must[int](t)(l.BeginRevision(ctx, state.Revision{Protection: want}))
	if d := cmp.Diff(want, must[*state.Revision](t)(s.Revision(ctx, n)).Protection); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	n = must[int](t)(l.BeginRevision(ctx, state.Revision{}))
	if p := must[*state.Revision](t)(s.Revision(ctx, n)).Protection; p != nil {
		t.Errorf("an unprotected one records %+v", p)
	}
}
