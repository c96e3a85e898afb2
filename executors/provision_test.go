package executors_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// shrink plans to remove features/b and c, the former with its role, before units run or last.
func (b *bench) shrink(last bool) *planner.Plan {
	b.mustApply(table("sources/a", `{}`), table("features/b", `{"b":1}`, "sources/a"), table("features/c", `{"c":1}`, "sources/a"))
	b.events = nil
	p := b.plan([]ir.Unit{table("sources/a", `{}`), table("features/d", `{"d":1}`, "sources/a")})
	p.Infrastructure = &planner.Infrastructure{Resources: []planner.Resource{
		{Address: "aws_iam_role.features-b", Unit: "features/b", Action: planner.Delete, Last: last},
		{Address: "aws_iam_role.features-c", Unit: "features/c", Action: planner.Update},
		{Address: "aws_iam_role.features-d", Unit: "features/d", Action: planner.Create},
	}}
	return p
}

// provisions sends an event when the infrastructure changes.
func provisions(as string) executors.ProvisionFunc {
	return func(_ context.Context, _ int, send func(executors.Event)) error {
		send(executors.Event{Type: executors.EventResource, Unit: as})
		return nil
	}
}

// order returns the units of the events.
func (b *bench) order() string {
	var order []string
	for _, e := range b.events {
		if len(order) == 0 || order[len(order)-1] != e.Unit {
			order = append(order, e.Unit)
		}
	}
	return strings.Join(order, " ")
}

func TestAUnitIsRemovedBeforeItsResources(t *testing.T) {
	for last, want := range map[bool]string{
		false: "features/b infrastructure sources/a features/d features/c removal",
		true:  "infrastructure sources/a features/d features/c features/b removal",
	} {
		b := newBench(t)
		p, o := b.shrink(last), b.options()
		o.Provision, o.Retire = provisions("infrastructure"), provisions("removal")
		if _, err := executors.Apply(t.Context(), p, o); err != nil {
			t.Fatal(err)
		}
		if got := b.order(); got != want {
			t.Errorf("order %q, want %q", got, want)
		}
	}
}

// What a unit that failed may still need is not removed, and the events say so.
func TestAfterAFailureNothingIsRemovedLast(t *testing.T) {
	b := newBench(t)
	b.fake.behave["features/d"] = behaviour{fails: 9}
	p, o := b.shrink(true), b.options()
	o.Retire = func(context.Context, int, func(executors.Event)) error {
		t.Error("resources were removed")
		return nil
	}
	res, err := executors.Apply(t.Context(), p, o)
	if err == nil || res.Outcome != state.Failure {
		t.Errorf("got %+v, %v", res, err)
	}
	if last := b.events[len(b.events)-1]; last.Type != executors.EventResource || !strings.Contains(last.Message, "nothing is removed until all units are done") {
		t.Errorf("the last event is %+v", last)
	}
}

func TestAFailedRemovalIsAFailure(t *testing.T) {
	b := newBench(t)
	p, o := b.shrink(true), b.options()
	o.Retire = func(context.Context, int, func(executors.Event)) error { return errors.New("it is in use") }
	res, err := executors.Apply(t.Context(), p, o)
	if err == nil || !strings.Contains(err.Error(), "the infrastructure was not completed: it is in use") || res.Outcome != state.Failure {
		t.Errorf("got %+v, %v", res, err)
	}
	if b.current("features/d").Unit == "" || b.current("features/b").Unit != "" {
		t.Error("units were not applied before")
	}
}

func TestAfterAFailedProvisionNothingRuns(t *testing.T) {
	b := newBench(t)
	p, o := b.shrink(false), b.options()
	o.Provision = func(context.Context, int, func(executors.Event)) error { return errors.New("no such region") }
	res, err := executors.Apply(t.Context(), p, o)
	if err == nil || !strings.Contains(err.Error(), "the infrastructure was not completed: no such region") || res.Outcome != state.Failure {
		t.Errorf("got %+v, %v", res, err)
	}
	if n := len(b.fake.started("features/d")); n != 0 || b.current("features/c").Unit == "" {
		t.Errorf("features/d was started %d times, features/c is %+v", n, b.current("features/c"))
	}
}

func TestProvisionIsInterruptedWhenTheLockIsLost(t *testing.T) {
	b := newBench(t)
	p, o := b.shrink(false), b.options()
	o.Provision = func(ctx context.Context, _ int, _ func(executors.Event)) error {
		b.exec("UPDATE lease SET token = token + 1")
		_ = b.lease.Check(ctx)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Second):
			return nil
		}
	}
	if _, err := executors.Apply(t.Context(), p, o); !errors.Is(err, state.ErrFenced) {
		t.Errorf("got %v", err)
	}
	if n := len(b.fake.started("features/d")); n != 0 {
		t.Errorf("features/d was started %d times", n)
	}
}

// A service that does not end keeps its role.
func TestResourcesStayIfTheirUnitCannotBeRemoved(t *testing.T) {
	b := newBench(t)
	b.mustApply(system("1")...)
	b.fake.behave["deployments/late"] = behaviour{undying: errors.New("no answer")}
	p := b.plan(slices.DeleteFunc(system("1"), func(u ir.Unit) bool { return u.ID == "deployments/late" || u.ID == "slos/late" }))
	p.Infrastructure = &planner.Infrastructure{Resources: []planner.Resource{{Address: "aws_iam_role.deployments-late", Unit: "deployments/late", Action: planner.Delete}}}
	o := b.options()
	o.Provision = func(context.Context, int, func(executors.Event)) error {
		t.Error("the resources were changed")
		return nil
	}
	res, err := executors.Apply(t.Context(), p, o)
	if err == nil || !strings.Contains(err.Error(), "units that need it could not be removed") || res.Outcome != state.Failure {
		t.Errorf("got %+v, %v", res, err)
	}
	failure(t, err, "deployments/late")
}
