package executors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

const late = "deployments/late"

// released returns [system] with a release of its service.
func released(n string) []ir.Unit {
	units := system(n)
	for i := range units {
		if units[i].ID == late {
			units[i].Release = &ir.Release{Steps: []int{10, 50, 100}, Each: time.Minute, By: "age"}
		}
	}
	return units
}

// weights returns what the process of a service was told last: "late v1 90, late v2 10".
func (b *bench) weights() string {
	b.Helper()
	c := b.current(late)
	b.fake.mu.Lock()
	defer b.fake.mu.Unlock()
	r, ok := b.fake.routes[c.Handle.ID]
	if !ok {
		return "no route"
	}
	var parts []string
	for _, v := range r.Versions {
		parts = append(parts, fmt.Sprintf("%s %d", v.Name, v.Weight))
	}
	return strings.Join(parts, ", ")
}

// reroute gives the service another route, as tenon release does.
func (b *bench) reroute(to *state.Route) error {
	b.Helper()
	c := b.current(late)
	last, err := b.store.Revisions(b.Context(), 1)
	b.ok(err)
	text, err := b.arts.Bytes(b.Context(), last[0].IR)
	b.ok(err)
	sys := new(ir.System)
	b.ok(json.Unmarshal(text, sys))
	u, err := b.store.Unit(b.Context(), late)
	b.ok(err)
	meta, err := b.store.Meta(b.Context())
	b.ok(err)
	p := planner.PlanRoute(sys, meta, u, c, to)
	p.Dir = filepath.Dir(b.dir)
	if to.Ending() {
		_, err = executors.EndRelease(b.Context(), p, b.options(), to.Champion().Revision)
	} else {
		_, err = executors.Reroute(b.Context(), p, b.options())
	}
	return err
}

func (b *bench) reject() error {
	c := b.current(late)
	to := planner.Aborted(c.Route, time.Now(), "3 of 3 requests failed")
	to.Rejected = &state.Rejected{Name: c.Route.Challenger().Name, Key: c.Route.Challenger().Key, Reason: to.Reason}
	return b.reroute(to)
}

// alone requires that exactly one task of the service is left, and is current.
func (b *bench) alone() {
	b.Helper()
	if now := b.current(late).Handle.ID; !slices.Equal(b.fake.alive(), []string{now}) {
		b.Errorf("alive are %v, and %s is current", b.fake.alive(), now)
	}
}

func TestANewVersionIsReleasedBesideTheChampion(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	champion := b.current(late)
	b.mustApply(released("2")...)
	b.alone()
	c := b.current(late)
	if got := b.weights(); got != "late v1 90, late v2 10" || c.Key == champion.Key || !c.Route.Releasing() {
		t.Errorf("weights %s, route %+v", got, c.Route)
	}
	if early := c.Since.Sub(c.Route.Since); early.Abs() > time.Millisecond {
		t.Errorf("its first step begins %s before it is ready", early)
	}
	task := b.fake.last[late]
	beside, ok := task.Beside["late v1"]
	if !ok || task.Version != "late v2" || task.Route.By != "age" || len(task.Beside) != 1 {
		t.Fatalf("task %+v", task)
	}
	if own, other := task.Inputs["model"], beside.Inputs["model"]; own.Path == other.Path || other.Version != 1 || own.Version != 2 || other.Signature == nil || beside.Key != champion.Key {
		t.Errorf("its model is %+v, beside that of %s: %+v", own, beside.Key, other)
	}
	// The same system changes nothing.
	if res := b.mustApply(released("2")...); res.Counts != (executors.Counts{Reused: 3, Unchanged: 3}) {
		t.Errorf("then: %+v", res.Counts)
	}

	policy := ir.Release{Steps: []int{10, 50, 100}}
	b.ok(b.reroute(planner.Advanced(policy, c.Route, 50, time.Now(), "good")))
	if got := b.weights(); got != "late v1 50, late v2 50" {
		t.Errorf("after a step: %s", got)
	}
	b.ok(b.reroute(planner.Finished(b.current(late).Route, time.Now(), "good")))
	if got := b.weights(); got != "late v2 100" || b.current(late).Route != nil || b.current(late).Key != c.Key {
		t.Errorf("at the end: %s, %+v", got, b.current(late))
	}
	if got := b.fake.started(late); len(got) != 2 {
		t.Errorf("started %v", got)
	}
	last, err := b.store.Revisions(t.Context(), 1)
	b.ok(err)
	if last[0].Act != state.Release || last[0].Outcome != state.Done {
		t.Errorf("revision %+v", last[0])
	}
}

// A champion that keeps files finds its folder, although the new version has none.
func TestAChampionKeepsItsFilesBesideAVersionWithoutAny(t *testing.T) {
	b := newBench(t)
	first := released("1")
	ships := ir.Shipments{{Folder: "requests", Most: 1 << 20}}
	with(first, late, func(u *ir.Unit) { u.Keeps, u.Ships = "log", ships })
	b.mustApply(first...)
	folder := b.fake.last[late].Kept
	b.mustApply(released("2")...)
	task := b.fake.last[late]
	if folder == "" || task.Kept != folder || task.Beside["late v1"].Kept != folder {
		t.Errorf("the folders are %q, then %q and %q", folder, task.Kept, task.Beside["late v1"].Kept)
	}
	if d := cmp.Diff(ships, task.Unit.Ships); d != "" {
		t.Errorf("where there is no such folder, its files are not stored: %s", d)
	}
}

func TestARejectedVersionGivesWayToTheChampion(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	champion := b.current(late)
	b.mustApply(released("2")...)
	b.fake.fewest = b.fake.ready
	b.ok(b.reject())
	b.alone()
	c := b.current(late)
	if c.Key != champion.Key || c.Route == nil || c.Route.Rejected == nil || c.Route.Rejected.Revision != 3 || len(c.Route.Versions) > 0 || b.fake.fewest < 1 {
		t.Errorf("current %+v, rejected %+v, fewest %d", c, c.Route, b.fake.fewest)
	}
	if task := b.fake.last[late]; task.Route != nil || task.Inputs["model"].Version != 1 || task.Version != "late v1" {
		t.Errorf("task %+v", task)
	}
	u, err := b.store.Unit(t.Context(), late)
	b.ok(err)
	if u.Digest != champion.Definition {
		t.Error("the unit that is applied is not the champion's")
	}

	// It is not tried again, and the champion is restarted if it dies.
	for _, i := range b.plan(released("2")).Items {
		if i.Unit == late && (i.Action.Changes() || i.Rejected != "late v2 was rejected in revision 3: 3 of 3 requests failed") {
			t.Errorf("%s is to %s: %v, rejected: %s", i.Unit, i.Action, i.Reasons, i.Rejected)
		}
	}
	b.fake.fail(c.Handle.ID)
	b.mustApply(released("2")...)
	if now := b.current(late); now.Key != champion.Key || now.Handle.ID == c.Handle.ID || now.Route.Rejected == nil {
		t.Errorf("after the champion died: %+v", now)
	}
	// Another one is.
	b.mustApply(released("3")...)
	if got := b.weights(); got != "late v1 90, late v3 10" {
		t.Errorf("weights %s", got)
	}
}

// The process of both versions has what only the champion needs: its program, the one that checks
// requests, and the folder that is kept.
func TestAReleaseHasWhatOnlyTheChampionNeeds(t *testing.T) {
	b := newBench(t)
	first := released("1")
	for i := range first {
		if first[i].ID == late {
			first[i].Keeps, first[i].Code.Runtime, first[i].Code.DuckDB = "log", ir.PlaneDuckDB, "parity"
		}
	}
	b.mustApply(first...)
	b.mustApply(released("2")...)
	task := b.fake.last[late]
	if code := task.Unit.Code; code.Runtime != ir.PlaneDuckDB || code.DuckDB != "parity" || task.Kept == "" || task.Beside["late v1"].Kept != task.Kept {
		t.Errorf("code %+v, kept in %q and %q", code, task.Kept, task.Beside["late v1"].Kept)
	}
	if u, err := b.store.Unit(t.Context(), late); err != nil || u.Code.Runtime == ir.PlaneDuckDB || u.Keeps != "" {
		t.Errorf("recorded as %+v, %v", u, err)
	}
	b.ok(b.reroute(planner.Finished(b.current(late).Route, time.Now(), "good")))
	b.fake.fail(b.current(late).Handle.ID)
	b.mustApply(released("2")...)
	if task := b.fake.last[late]; task.Unit.Code.Runtime == ir.PlaneDuckDB || task.Kept != "" {
		t.Errorf("afterwards: %+v", task)
	}
}

// fail ends a service as if its program had died.
func (f *fake) fail(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tasks[name].state = state.Status{Phase: state.Failed, ExitCode: 1}
	f.ready--
}

func TestAThirdVersionReplacesTheChallenger(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	b.mustApply(released("2")...)
	b.mustApply(released("3")...)
	b.alone()
	if got := b.weights(); got != "late v1 90, late v3 10" {
		t.Errorf("weights %s", got)
	}
	// Back to the champion.
	b.mustApply(released("1")...)
	b.alone()
	if c := b.current(late); c.Route != nil || b.fake.last[late].Route != nil {
		t.Errorf("route %+v", c.Route)
	}
}

func TestARestartKeepsTheRoute(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	b.mustApply(released("2")...)
	b.ok(b.reroute(planner.Advanced(ir.Release{}, b.current(late).Route, 50, time.Now(), "good")))
	serial := b.current(late).Route.Serial
	b.fake.fail(b.current(late).Handle.ID)
	b.mustApply(released("2")...)
	if got := b.weights(); got != "late v1 50, late v2 50" || b.current(late).Route.Serial <= serial {
		t.Errorf("weights %s, serial %d after %d", got, b.current(late).Route.Serial, serial)
	}
	b.alone()
}

func TestAReleaseThatIsRemovedEnds(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	b.mustApply(released("2")...)
	key := b.current(late).Key
	b.mustApply(system("2")...)
	if c := b.current(late); c.Route != nil || c.Key != key || b.weights() != "late v2 100" {
		t.Errorf("current %+v, weights %s", c, b.weights())
	}
	// A new policy changes no weight.
	b.mustApply(released("3")...)
	units := released("3")
	for i := range units {
		if units[i].ID == late {
			units[i].Release.Steps = []int{20, 100}
		}
	}
	b.mustApply(units...)
	u, err := b.store.Unit(t.Context(), late)
	b.ok(err)
	if !slices.Equal(u.Release.Steps, []int{20, 100}) || b.weights() != "late v2 90, late v3 10" || len(b.fake.started(late)) != 3 {
		t.Errorf("release %+v, weights %s", u.Release, b.weights())
	}
}

func TestCollectKeepsTheChampion(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	b.mustApply(released("2")...)
	for range 3 {
		b.ok(b.reroute(planner.Advanced(ir.Release{}, b.current(late).Route, 50, time.Now(), "good")))
	}
	c := b.collect(executors.Retention{Revisions: 1, Models: 2})
	b.ok(c.Remove(t.Context()))
	b.ok(b.reject())
	if task := b.fake.last[late]; task.Inputs["model"].Version != 1 {
		t.Errorf("task %+v", task)
	}
}

// An apply, a step and an abort that are killed after any of their writes, and repeated, end as if
// they had not been: one process is left, it is current, and the route that is recorded is in effect.
func TestAReleaseKilledAtAnyPointConverges(t *testing.T) {
	type act struct {
		name   string
		do     func(b *bench) error
		weight string
	}
	apply := func(n string) func(b *bench) error {
		return func(b *bench) error { _, err := b.apply(released(n)...); return err }
	}
	step := func(b *bench) error {
		r := b.current(late).Route
		if r.Challenger().Weight == 50 { // recorded, and perhaps not in effect
			return b.fake.SetRoute(b.Context(), *b.current(late).Handle, executors.StepRoute(&ir.Unit{}, r))
		}
		return b.reroute(planner.Advanced(ir.Release{}, r, 50, time.Now(), "good"))
	}
	finish := func(b *bench) error {
		switch r := b.current(late).Route; {
		case r.Releasing():
			return b.reroute(planner.Finished(r, time.Now(), "good"))
		case r.Finishing():
			return b.reroute(r)
		}
		return nil
	}
	reject := func(b *bench) error {
		if c := b.current(late); c.Route.Ending() || c.Route.Releasing() {
			return b.reject()
		}
		_, err := b.apply(released("2")...) // ends what is left in the journal
		return err
	}
	for _, a := range []act{
		{"apply", apply("2"), "late v1 90, late v2 10"},
		{"step", step, "late v1 50, late v2 50"},
		{"abort", reject, "no route"},
		{"the end", finish, "late v2 100"},
		{"a release that is removed", func(b *bench) error { _, err := b.apply(system("2")...); return err }, "late v2 100"},
		{"the champion's version", apply("1"), "no route"},
		{"a third version", apply("3"), "late v1 90, late v3 10"},
	} {
		t.Run(a.name, func(t *testing.T) {
			for after := int64(1); ; after++ {
				b := newBench(t)
				b.mustApply(released("1")...)
				if a.name != "apply" {
					b.mustApply(released("2")...)
				}
				m, err := b.store.Meta(t.Context())
				b.ok(err)
				b.fake.fewest = b.fake.ready
				b.exec(fmt.Sprintf("CREATE TRIGGER kill AFTER UPDATE ON meta WHEN new.serial = %d BEGIN UPDATE lease SET token = token + 1; END", m.Serial+after))
				err = a.do(b)
				b.exec("DROP TRIGGER IF EXISTS kill")
				if err != nil && !errors.Is(err, state.ErrFenced) {
					t.Fatalf("killed after write %d: %v", after, err)
				}
				killed := err != nil
				if killed {
					b.exec("DELETE FROM lease")
					b.lock()
					b.ok(a.do(b))
				}
				b.alone()
				if got := b.weights(); got != a.weight || b.fake.fewest < 1 {
					t.Errorf("killed after write %d: weights %s, want %s; at least %d answered", after, got, a.weight, b.fake.fewest)
				}
				if left, err := b.store.Pending(t.Context()); err != nil || len(left) > 0 {
					t.Errorf("killed after write %d: the journal holds %v, %v", after, left, err)
				}
				if !killed {
					if after < 3 {
						t.Errorf("only %d writes", after)
					}
					return
				}
			}
		})
	}
}

// The process of both versions has the larger of their resources, and the network if one of them
// has it. What cannot be shared is refused.
func TestTwoVersionsShareAProcess(t *testing.T) {
	for name, c := range map[string]struct {
		champion, challenger, both ir.Unit
		fault                      string
	}{
		"resources": {
			ir.Unit{Needs: ir.Resources{MilliCPU: 300, Memory: 100, PIDs: 5}, Network: ir.NetworkOpen},
			ir.Unit{Needs: ir.Resources{MilliCPU: 200, Memory: 200, Disk: 7, PIDs: 4}, Network: ir.NetworkNone},
			ir.Unit{Needs: ir.Resources{MilliCPU: 300, Memory: 200, PIDs: 5}, Network: ir.NetworkOpen}, "",
		},
		"no network is less than the least": {ir.Unit{}, ir.Unit{Network: ir.NetworkNone}, ir.Unit{}, ""},
		"GPUs": {
			ir.Unit{Needs: ir.Resources{GPU: 1}}, ir.Unit{Needs: ir.Resources{GPU: 2}}, ir.Unit{},
			"run it beside late v1: it needs other GPUs: remove release to replace that version at once",
		},
		"secrets": {
			ir.Unit{Secrets: []ir.Secret{{Name: "A", Kubernetes: &ir.SecretKey{Name: "s", Key: "a"}}}},
			ir.Unit{Secrets: []ir.Secret{{Name: "B", Kubernetes: &ir.SecretKey{Name: "s", Key: "b"}}}},
			ir.Unit{Secrets: []ir.Secret{{Name: "B", Kubernetes: &ir.SecretKey{Name: "s", Key: "b"}}, {Name: "A", Kubernetes: &ir.SecretKey{Name: "s", Key: "a"}}}}, "",
		},
		"another secret of one name": {
			ir.Unit{Secrets: []ir.Secret{{Name: "A", Kubernetes: &ir.SecretKey{Name: "s", Key: "a"}}}},
			ir.Unit{Secrets: []ir.Secret{{Name: "A", Kubernetes: &ir.SecretKey{Name: "s", Key: "b"}}}}, ir.Unit{},
			"run it beside late v1: both have a secret A, with different values: remove release to replace that version at once",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			units := func(n string, of ir.Unit) []ir.Unit {
				all := released(n)
				for i := range all {
					if all[i].ID == late {
						all[i].Needs, all[i].Network, all[i].Secrets = of.Needs, of.Network, of.Secrets
					}
				}
				return all
			}
			o := b.options()
			o.Unbounded, o.Secrets = true, func(ir.Secret) (string, error) { return "", errors.New("the cluster has it") }
			_, err := executors.Apply(t.Context(), b.plan(units("1", c.champion)), o)
			b.ok(err)
			_, err = executors.Apply(t.Context(), b.plan(units("2", c.challenger)), o)
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("got %v, want %q", err, c.fault)
				}
				return
			}
			b.ok(err)
			got, want := b.fake.last[late].Unit, c.both
			if diff := cmp.Diff(want.Secrets, got.Secrets); got.Needs != want.Needs || got.Network != want.Network || diff != "" {
				t.Errorf("the task has %+v and the network %q, want %+v and %q\n%s", got.Needs, got.Network, want.Needs, want.Network, diff)
			}
		})
	}
}

// A version that reads the endpoint of another service runs beside a new one only if that endpoint
// is still what its run read, also if the same apply changes it.
func TestAChampionReadsTheEndpointThatItsRunRead(t *testing.T) {
	const other = "deployments/other"
	units := func(n, params string) []ir.Unit {
		u := service(other, params)
		u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 7070, Ready: "/readyz", Replicas: 1}
		return append(with(released(n), late, func(u *ir.Unit) {
			u.Inputs = append(u.Inputs, ir.Input{Port: "api", Unit: other, From: "endpoint", Kind: ir.EndpointOf})
		}), u)
	}
	b := newBench(t)
	b.mustApply(units("1", `{}`)...)
	b.mustApply(units("2", `{}`)...)
	if path := b.fake.last[late].Beside["late v1"].Inputs["api"].Path; path != "http://127.0.0.1:7070" {
		t.Errorf("the champion reads the endpoint %q", path)
	}
	b.ok(b.reroute(planner.Finished(b.current(late).Route, time.Now(), "good")))
	_, err := b.apply(units("3", `{"new":true}`)...)
	if e := failure(t, err, late); !strings.Contains(e.Error(), "it reads the endpoint of "+other+", which has changed") {
		t.Errorf("the error is %v", e)
	}
}
