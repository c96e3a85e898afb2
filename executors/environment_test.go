package executors_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// in returns a bench for an environment of the same state, with its own lock.
func (b *bench) in(env string) *bench {
	b.Helper()
	other := &bench{T: b.T, dir: b.dir, fake: b.fake, arts: b.arts, store: b.store.In(env)}
	other.lock()
	return other
}

func TestWhatOneEnvironmentHasMadeIsReusedInAnother(t *testing.T) {
	b := newBench(t)
	dev, prod := b.in("dev"), b.in("prod")
	units := []ir.Unit{table("sources/a", `{}`), service("deployments/api", `{}`, "sources/a")}
	dev.mustApply(units...)
	if res := prod.mustApply(units...); res.Revision != 1 || res.Counts != (executors.Counts{Reused: 1, Created: 1}) {
		t.Errorf("prod: %+v", res)
	}
	one, other := dev.current("deployments/api").Handle.ID, prod.current("deployments/api").Handle.ID
	if !strings.HasPrefix(one, "dev-deployments-api-") || !strings.HasPrefix(other, "prod-deployments-api-") {
		t.Errorf("the services are called %s and %s", one, other)
	}
	if _, err := executors.Destroy(t.Context(), dev.options()); err != nil {
		t.Fatal(err)
	}
	if left := b.fake.alive(); len(left) != 1 || left[0] != other {
		t.Errorf("after dev was destroyed, %v runs, want prod's", left)
	}
	if res := prod.mustApply(units...); res.Counts.Created+res.Counts.Ran > 0 {
		t.Errorf("prod again: %+v", res.Counts)
	}
}

// Two environments that need the same result at the same time make it once.
func TestOneOfTwoEnvironmentsRunsAKey(t *testing.T) {
	b := newBench(t)
	dev, prod := b.in("dev"), b.in("prod")
	b.fake.behave["sources/a"] = behaviour{takes: 500 * time.Millisecond}
	u := table("sources/a", `{}`)
	devPlan, prodPlan := dev.plan([]ir.Unit{u}), prod.plan([]ir.Unit{u})
	began, done := make(chan struct{}), make(chan error)
	dev.watch = func(e executors.Event) {
		if e.Type == executors.EventStarted {
			close(began)
		}
	}
	go func() {
		_, err := executors.Apply(t.Context(), devPlan, dev.options())
		done <- err
	}()
	<-began
	waits := ""
	prod.watch = func(e executors.Event) { waits += e.Waits }
	res, err := executors.Apply(t.Context(), prodPlan, prod.options())
	b.ok(err)
	b.ok(<-done)
	if res.Counts != (executors.Counts{Reused: 1}) || len(b.fake.started("dev/sources/a")) != 1 || len(b.fake.started("prod/sources/a")) != 0 {
		t.Errorf("prod: %+v, started %v", res.Counts, b.fake.calls)
	}
	if waits != "the apply of the environment dev runs it now" {
		t.Errorf("it waits for %q", waits)
	}
	if a, b := dev.current("sources/a").Run, prod.current("sources/a").Run; a != b || a == 0 {
		t.Errorf("the results are runs %d and %d", a, b)
	}
}

// If the apply that prod waits for fails or is killed, prod runs the unit itself. What the
// killed one left is not touched until its own environment is applied again.
func TestAnEnvironmentDoesNotWaitForADeadOne(t *testing.T) {
	for _, how := range []string{"failed", "killed"} {
		t.Run(how, func(t *testing.T) {
			b := newBench(t)
			dev, prod := b.in("dev"), b.in("prod")
			u := table("sources/a", `{}`)
			b.ok(u.Define())
			r := state.Run{Key: ir.RunKey(u.Digest, nil), Unit: u.ID, Definition: u.Digest, Revision: 1, Attempt: 1}
			var err error
			r.ID, err = dev.lease.Begin(t.Context(), r)
			b.ok(err)
			plan, done := prod.plan([]ir.Unit{u}), make(chan struct{})
			waiting := make(chan struct{})
			prod.watch = func(e executors.Event) {
				if e.Waits != "" {
					close(waiting)
				}
			}
			var res *executors.Result
			go func() {
				defer close(done)
				res, err = executors.Apply(t.Context(), plan, prod.options())
			}()
			<-waiting
			if how == "failed" {
				r.Outcome = state.Failure
				b.ok(dev.lease.Finish(t.Context(), r, nil, nil))
			} else {
				b.ok(dev.lease.Release(t.Context()))
			}
			<-done
			b.ok(err)
			if res.Counts != (executors.Counts{Ran: 1}) {
				t.Errorf("prod: %+v", res.Counts)
			}
			if how == "failed" {
				return
			}
			if left, err := dev.store.Pending(t.Context()); err != nil || len(left) != 1 {
				t.Errorf("dev's journal holds %v, %v", left, err)
			}
			dev.lock()
			dev.mustApply(u)
			if n := len(b.fake.started("dev/sources/a")) + len(b.fake.started("prod/sources/a")); n != 1 {
				t.Errorf("it ran %d times", n)
			}
		})
	}
}

// --rerun runs what another environment made before this apply.
func TestRerunIsNotSatisfiedByAnotherEnvironment(t *testing.T) {
	b := newBench(t)
	dev, prod := b.in("dev"), b.in("prod")
	u := table("sources/a", `{}`)
	dev.mustApply(u)
	res, err := executors.Apply(t.Context(), prod.plan([]ir.Unit{u}, u.ID), prod.options())
	b.ok(err)
	if res.Counts != (executors.Counts{Ran: 1}) {
		t.Errorf("counts %+v", res.Counts)
	}
}

// What an apply writes first, its revision, is safe as well: it waits for a sweep that is going on.
func TestARevisionIsNotBegunDuringASweep(t *testing.T) {
	b := newBench(t)
	dev := b.in("dev")
	p, o := dev.plan([]ir.Unit{table("sources/a", `{}`)}), dev.options()
	sweeping, ended := make(chan struct{}), make(chan struct{})
	go func() {
		f, err := files.Share(filepath.Join(b.dir, "applying.lock"), func() { close(sweeping); <-ended })
		if err == nil {
			f.Close()
		}
	}()
	<-sweeping
	done := make(chan error, 1)
	go func() { _, err := executors.Begin(t.Context(), p, o); done <- err }()
	select {
	case err := <-done:
		t.Errorf("it began: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(ended)
	b.ok(<-done)
}

// Half-written files may be those of the apply of another environment.
func TestSweepsLeaveWhatAnotherApplyWrites(t *testing.T) {
	b := newBench(t)
	half := filepath.Join(b.dir, "artifacts", "tmp", "half")
	b.ok(os.WriteFile(half, nil, 0o600))
	other, err := files.Share(filepath.Join(b.dir, "applying.lock"), func() {})
	b.ok(err)
	b.in("dev").mustApply(table("sources/a", `{}`))
	if _, err := os.Stat(half); err != nil {
		t.Error("it was removed while another apply may write it")
	}
	b.ok(other.Close())
	b.in("prod").mustApply(table("sources/a", `{}`))
	if _, err := os.Stat(half); err == nil {
		t.Error("it was not removed, although nobody writes it")
	}
}

func TestAPlanOfAnotherEnvironmentIsRefused(t *testing.T) {
	b := newBench(t)
	dev, prod := b.in("dev"), b.in("prod")
	_, err := executors.Apply(t.Context(), dev.plan([]ir.Unit{table("sources/a", `{}`)}), prod.options())
	if err == nil || !strings.Contains(err.Error(), "it was made for the environment dev, not for the environment prod") {
		t.Errorf("error %v", err)
	}
}

// What any environment has deployed, or can roll back to, is not garbage. Each case applies
// versions of a table in environments, in order, and says which versions a collection that
// keeps one revision of each must leave.
func TestCollectKeepsWhatAnyEnvironmentNeeds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		applies []string // "dev 1"
		kept    string   // versions whose result is still reused
	}{
		{"one environment moved on", []string{"dev 1", "dev 2", "prod 1"}, "1 2"},
		{"the maker moved on", []string{"dev 1", "prod 1", "dev 2", "dev 3"}, "1 3"},
		{"both moved on", []string{"dev 1", "prod 1", "dev 2", "prod 2"}, "2"},
		{"without a name", []string{" 1", "dev 1", "dev 2"}, "1 2"},
		{"destroyed", []string{"dev 1", "prod 2", "prod destroy"}, "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.ok(b.lease.Release(t.Context()))
			benches := map[string]*bench{}
			version := func(v string) ir.Unit { return table("sources/a", fmt.Sprintf(`{"v":%s}`, v)) }
			for _, a := range tt.applies {
				env, v, _ := strings.Cut(a, " ")
				if benches[env] == nil {
					benches[env] = b.in(env)
				}
				if v != "destroy" {
					benches[env].mustApply(version(v))
				} else if _, err := executors.Destroy(t.Context(), benches[env].options()); err != nil {
					t.Fatal(err)
				}
			}
			for _, x := range benches {
				b.ok(x.lease.Release(context.Background()))
			}
			all := b.in(state.All)
			o := all.options()
			o.Store = b.store
			c, err := executors.Collect(t.Context(), o, executors.Retention{Revisions: 1})
			b.ok(err)
			b.ok(c.Remove(t.Context()))
			var kept []string
			for v := 1; v <= 3; v++ {
				u := version(fmt.Sprint(v))
				b.ok(u.Define())
				r, err := b.store.RunFor(t.Context(), u.ID, ir.RunKey(u.Digest, nil))
				if err == nil && b.arts.Has(r.Outputs["out"].Digest) {
					kept = append(kept, fmt.Sprint(v))
				}
			}
			if got := strings.Join(kept, " "); got != tt.kept {
				t.Errorf("kept %s, want %s", got, tt.kept)
			}
			b.ok(all.lease.Release(t.Context()))
			for env, x := range benches {
				if left, err := x.store.Revisions(t.Context(), 0); err != nil || len(left) != 1 {
					t.Errorf("%q has %d revisions, %v", env, len(left), err)
				}
			}
		})
	}
}

// gpus lends one GPU, gpu=0, to the units of an environment.
func (b *bench) gpus(units ...ir.Unit) func() (*executors.Result, error) {
	b.Helper()
	for i := range units {
		units[i].Pool = "gpus"
	}
	return b.withGPU(b.plan(units))
}

// withGPU lends gpu=0 to the units of a plan.
func (b *bench) withGPU(plan *planner.Plan) func() (*executors.Result, error) {
	b.Helper()
	o := b.options()
	plan.System.Pools = []ir.Pool{{Name: "gpus", Resources: ir.Resources{MilliCPU: 64000, Memory: 1 << 40, GPU: 1}}}
	o.Devices = func(context.Context, []ir.Pool) (map[string][]executors.GPU, error) {
		return map[string][]executors.GPU{"gpus": {{Device: executors.Device{Name: "gpu=0", ID: "UUID-0"}}}}, nil
	}
	return func() (*executors.Result, error) { return executors.Apply(b.Context(), plan, o) }
}

// Two environments that are applied at the same time never have the same GPU: the second one waits,
// and says for what.
func TestTwoEnvironmentsTakeTurnsOnAGPU(t *testing.T) {
	b := newBench(t)
	dev, prod := b.in("dev"), b.in("prod")
	var mu sync.Mutex
	said := map[string]bool{}
	var applies []func() (*executors.Result, error)
	for _, x := range []*bench{dev, prod} {
		x.watch = func(e executors.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Waits != "" {
				said[e.Waits] = true
			}
		}
		var units []ir.Unit
		for i := range 3 {
			u := on(1, table(fmt.Sprintf("features/%s%d", x.store.Env(), i), fmt.Sprintf(`{"%s":%d}`, x.store.Env(), i)))
			b.fake.behave[u.ID] = behaviour{takes: 100 * time.Millisecond}
			units = append(units, u)
		}
		applies = append(applies, x.gpus(units...))
	}
	errs := make(chan error)
	for _, apply := range applies {
		go func() { _, err := apply(); errs <- err }()
	}
	b.ok(<-errs)
	b.ok(<-errs)
	if len(b.fake.shared) > 0 {
		t.Errorf("lent twice: %v", b.fake.shared)
	}
	for what := range said {
		if !strings.Contains(what, "has gpu=0") {
			t.Errorf("it waits for %q", what)
		}
	}
	if len(said) == 0 {
		t.Error("no unit says that it waits")
	}
}

// An audit waits for a GPU as well, if another environment was faster to take it.
func TestAnAuditWaitsForAGPUOfAnotherEnvironment(t *testing.T) {
	b := newBench(t)
	dev, prod := b.in("dev"), b.in("prod")
	first := table("sources/a", `{}`)
	units := []ir.Unit{first, on(1, table("features/f", `{}`, "sources/a"))}
	if _, err := prod.gpus(units...)(); err != nil {
		t.Fatal(err)
	}
	plan := prod.plan(units)
	plan.Audit(1, func() float64 { return 0 })
	u := on(1, table("features/other", `{}`))
	b.ok(u.Define())
	r := state.Run{Key: ir.RunKey(u.Digest, nil), Unit: u.ID, Definition: u.Digest, Revision: 1, Attempt: 1, Devices: []string{"gpu=0"}}
	prod.watch = func(e executors.Event) {
		var err error
		switch {
		case e.Type == executors.EventStarted && e.Unit == first.ID: // so that the GPU was free when the apply began
			r.ID, err = dev.lease.Begin(t.Context(), r)
		case e.Waits != "":
			r.Outcome = state.Failure
			err = dev.lease.Finish(t.Context(), r, nil, nil)
		}
		b.ok(err)
	}
	res, err := prod.withGPU(plan)()
	b.ok(err)
	if len(res.Audits) != 2 || r.Outcome != state.Failure {
		t.Errorf("audits %+v, the other run %s", res.Audits, r.Outcome)
	}
}

// What keeps a GPU without an end is not waited for. The error says what it is.
func TestAGPUOfADeployedServiceIsNotWaitedFor(t *testing.T) {
	b := newBench(t)
	dev, prod := b.in("dev"), b.in("prod")
	if _, err := dev.gpus(on(1, service("deployments/s", `{}`)))(); err != nil {
		t.Fatal(err)
	}
	_, err := prod.gpus(on(1, table("features/f", `{}`)))()
	if want := "deployments/s of the environment dev has gpu=0"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	// It keeps its own when it is started again.
	if _, err := dev.gpus(on(1, service("deployments/s", `{"n":2}`)))(); err != nil {
		t.Error(err)
	}
	_, err = executors.Destroy(t.Context(), dev.options())
	b.ok(err)

	u := on(1, table("features/left", `{}`))
	b.ok(u.Define())
	_, err = dev.lease.Begin(t.Context(), state.Run{Key: ir.RunKey(u.Digest, nil), Unit: u.ID, Definition: u.Digest, Revision: 1, Attempt: 1, Devices: []string{"gpu=0"}})
	b.ok(err)
	b.ok(dev.lease.Release(t.Context()))
	_, err = prod.gpus(on(1, table("features/f", `{}`)))()
	if want := "features/left of the environment dev has gpu=0, left by an apply that was killed: apply that environment again"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}
