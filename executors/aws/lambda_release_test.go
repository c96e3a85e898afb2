package aws_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// beside makes the task of a challenger that begins beside a champion with a share of the requests.
func beside(champion, challenger executors.Task, percent int) executors.Task {
	champion.Version, challenger.Version = "late v1", "late v2"
	champion.Name, champion.Dir = challenger.Name, challenger.Dir
	challenger.Beside = map[string]executors.Task{champion.Version: champion}
	r := weights(1, percent)
	challenger.Route = &r
	return challenger
}

func weights(serial int64, percent int) step.Route {
	return step.Route{Serial: serial, Versions: []step.RouteVersion{{Name: "late v1", Weight: 100 - percent}, {Name: "late v2", Weight: percent}}}
}

// answered counts which models answer n requests.
func answered(t *testing.T, url string, n int) map[string]int {
	t.Helper()
	all := map[string]int{}
	for range n {
		_, body := asked(t, url, true)
		all[strings.TrimSpace(body)]++
	}
	return all
}

// observed waits for what the versions have counted, by their names.
func observed(t *testing.T, e *aws.Executor, h state.Handle, serial int64, known func(map[string]step.Observation) bool) {
	t.Helper()
	var seen *step.Observed
	for range 100 {
		var err error
		seen, err = e.Observe(t.Context(), h)
		ok(t, err)
		if seen != nil && seen.Serial == serial && known(seen.Versions) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("observed %+v", seen)
}

// Two versions of a deployment answer as the route says, and what they answer is counted, also by requests that
// an instance does not answer. The challenger becomes the champion, or gives way.
func TestReleaseOfAFunction(t *testing.T) {
	l := newLab(t)
	const system = "release-function"
	e := l.functions(t, system)
	first := function(t, "a", "one")
	ok(t, l.provision(t.Context(), system, first))
	old, err := e.Apply(t.Context(), first, nil)
	ok(t, err)
	ready(t, e, old)
	if seen, err := e.Observe(t.Context(), old); seen != nil || err != nil {
		t.Errorf("without a release: %+v, %v", seen, err)
	}

	// It begins with half of the requests, which the champion of another task answers until then.
	next := beside(first, function(t, "b", "failing"), 50)
	h, err := e.Apply(t.Context(), next, &old)
	ok(t, err)
	url := located(t, e, old)
	if got := answered(t, url, 5); got["one"] != 5 {
		t.Errorf("before it is ready: %v", got)
	}
	ready(t, e, h)
	if again, err := e.Apply(t.Context(), next, &old); err != nil || again.ID != h.ID {
		t.Errorf("applied again: %+v, %v", again, err)
	}
	ok(t, e.Destroy(t.Context(), old)) // both versions are those of the new task
	got := answered(t, url, 24)
	if got["one"] == 0 || got["it fails"] == 0 || len(got) != 2 {
		t.Errorf("with half of the requests each: %v", got)
	}
	ready(t, e, h) // which changes nothing

	// An instance prints what it has not printed with a request two seconds later.
	time.Sleep(2 * time.Second)
	var more map[string]int
	observed(t, e, h, 1, func(all map[string]step.Observation) bool {
		one, two := all["late v1"], all["late v2"]
		more = answered(t, url, 2)
		for model, n := range more {
			got[model] += n
		}
		return one.Requests > 2 && one.Failed == 0 && two.Requests > 2 && two.Failed == two.Requests && int(one.Requests+two.Requests) <= got["one"]+got["it fails"]
	})

	// Another executor, with the same state, changes the weights. Counts begin again.
	other := l.functions(t, system)
	ok(t, other.SetRoute(t.Context(), h, weights(2, 0)))
	ok(t, other.SetRoute(t.Context(), h, weights(2, 0)))
	if got := answered(t, url, 8); got["one"] != 8 {
		t.Errorf("aborted: %v", got)
	}
	observed(t, other, h, 2, func(all map[string]step.Observation) bool {
		one, two := all["late v1"], all["late v2"]
		answered(t, url, 1)
		return one.Requests > 0 && two.Requests == 0
	})
	ok(t, e.SetRoute(t.Context(), h, weights(3, 100)))
	if got := answered(t, url, 4); got["it fails"] != 4 {
		t.Errorf("with all requests: %v", got)
	}
	if err := e.SetRoute(t.Context(), h, step.Route{Serial: 4, Versions: []step.RouteVersion{{Name: "late v9", Weight: 100}}}); err == nil || !strings.Contains(err.Error(), "its version late v9 was removed outside tenon") {
		t.Errorf("%v", err)
	}
	ok(t, e.SetRoute(t.Context(), h, step.Route{Serial: 5, Versions: []step.RouteVersion{{Name: "late v2", Weight: 100}}}))
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Ready {
		t.Errorf("alone: %+v, %v", st, err)
	}

	// A challenger that ends instead of answering has failures, although it prints nothing of them.
	crash := beside(function(t, "b", "one"), function(t, "c", "crashing"), 100)
	c, err := e.Apply(t.Context(), crash, &h)
	ok(t, err)
	ready(t, e, c)
	for range 3 {
		if status, _ := asked(t, url, true); status != 502 {
			t.Errorf("it answers %d", status)
		}
	}
	observed(t, e, c, 1, func(all map[string]step.Observation) bool {
		return all["late v2"].Requests == 3 && all["late v2"].Failed == 3
	})

	// A challenger that cannot start never gets a request.
	broken := beside(function(t, "b", "one"), function(t, "d", "broken"), 50)
	b, err := e.Apply(t.Context(), broken, &c)
	ok(t, err)
	if st, err := e.Wait(t.Context(), b); err != nil || st.Phase != state.Failed || !strings.HasPrefix(st.Message, "late v2: it does not start: ") {
		t.Errorf("%+v, %v", st, err)
	}
	ok(t, e.Destroy(t.Context(), b))
	if status, _ := asked(t, url, true); status != 502 {
		t.Errorf("after that, it answers %d", status)
	}
	ok(t, e.Destroy(t.Context(), h))
	ok(t, e.Destroy(t.Context(), c))
	l.swept(t, system)
}

// located returns the URL of a deployment that is ready.
func located(t *testing.T, e *aws.Executor, h state.Handle) string {
	t.Helper()
	h, err := e.Located(t.Context(), h)
	ok(t, err)
	return h.Endpoint
}

// What AWS Lambda cannot do in a release is refused, at its place.
func TestReleasesThatLambdaRefuses(t *testing.T) {
	half := 0.5
	for name, r := range map[string]ir.Release{
		"release.by":                 {By: "customer"},
		"release.shadow":             {Shadow: 0.1},
		"release.judge.disagreement": {Judge: ir.Judge{Disagreement: &half}},
		"":                           {Steps: []int{1, 100}, Judge: ir.Judge{ErrorRate: &half, P99: time.Second, Requests: 9}},
	} {
		var got []string
		for _, f := range aws.New(aws.Options{}).Check(function(t, "a", "one", func(u *ir.Unit) { u.Release = &r }).Unit) {
			got = append(got, f.Field)
		}
		if want := slices.DeleteFunc([]string{name}, func(s string) bool { return s == "" }); !slices.Equal(got, want) {
			t.Errorf("%+v: %q", r, got)
		}
	}
}

// A release, each change of its route, and its end are killed after each call of AWS Lambda, again and
// again until one comes to its end. Both versions are published once, and nothing is left.
func TestReleaseKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	const system = "killed-release"
	first := function(t, "a", "one")
	ok(t, l.provision(t.Context(), system, first))
	e := l.functions(t, system)
	old, err := e.Apply(t.Context(), first, nil)
	ok(t, err)
	ready(t, e, old)
	next := beside(first, function(t, "b", "two"), 50)
	var h state.Handle
	l.until(t, system, func(e *aws.Executor) (err error) {
		h, err = e.Apply(t.Context(), next, &old)
		return err
	})
	if !strings.Contains(string(h.Data), fmt.Sprintf(":function:tenon-%s-deployments-api:2\"", system)) {
		t.Errorf("the challenger is not version 2: %s", h.Data)
	}
	l.until(t, system, func(e *aws.Executor) error {
		st, err := e.Wait(t.Context(), h)
		if err == nil && st.Phase != state.Ready {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
	l.until(t, system, func(e *aws.Executor) error { return e.Destroy(t.Context(), old) })
	url := located(t, e, h)
	for i, percent := range []int{1, 100, 0} {
		l.until(t, system, func(e *aws.Executor) error { return e.SetRoute(t.Context(), h, weights(int64(2+i), percent)) })
	}
	if got := answered(t, url, 4); got["one"] != 4 {
		t.Errorf("%v", slices.Sorted(maps.Keys(got)))
	}
	alone := step.Route{Serial: 9, Versions: []step.RouteVersion{{Name: "late v2", Weight: 100}}}
	l.until(t, system, func(e *aws.Executor) error { return e.SetRoute(t.Context(), h, alone) })
	if got := answered(t, url, 4); got["two"] != 4 {
		t.Errorf("%v", got)
	}
	l.until(t, system, func(e *aws.Executor) error { return e.Destroy(t.Context(), h) })
	l.swept(t, system)
}
