package executors_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// lend applies units to a pool of GPUs with the names gpu=0, gpu=1, ...
func (b *bench) lend(p ir.Pool, units ...ir.Unit) (*executors.Result, error) {
	b.Helper()
	p.Name, p.MilliCPU, p.Memory = "gpus", 64000, 1<<40
	for i := range units {
		units[i].Pool = "gpus"
	}
	plan := b.plan(units)
	plan.System.Pools = []ir.Pool{p}
	o := b.options()
	o.Devices = func(context.Context, []ir.Pool) (map[string][]executors.GPU, error) {
		found := make([]executors.GPU, p.GPU)
		for i := range found {
			found[i].Name, found[i].ID = fmt.Sprint("gpu=", i), fmt.Sprint("UUID-", i)
		}
		return map[string][]executors.GPU{"gpus": found}, nil
	}
	res, err := executors.Apply(b.Context(), plan, o)
	if len(b.fake.shared) > 0 {
		b.Errorf("lent twice: %v", b.fake.shared)
	}
	return res, err
}

func (b *bench) mustLend(p ir.Pool, units ...ir.Unit) {
	b.Helper()
	if _, err := b.lend(p, units...); err != nil {
		b.Fatalf("apply: %v", err)
	}
}

// on makes a unit request GPUs.
func on(n int64, u ir.Unit) ir.Unit {
	u.Needs.GPU = n
	return u
}

// had returns the devices of all runs of a unit, newest first.
func (b *bench) had(unit string) string {
	b.Helper()
	runs, err := b.store.Runs(b.Context(), unit, 20)
	b.ok(err)
	var had []string
	for _, r := range runs {
		had = append(had, strings.Join(r.Devices, "+"))
	}
	return strings.Join(had, ", ")
}

func pool(gpus int64) ir.Pool { return ir.Pool{Resources: ir.Resources{GPU: gpus}} }

func TestGPUsAreLentByName(t *testing.T) {
	b := newBench(t)
	var units []ir.Unit
	for i := range 12 {
		id := fmt.Sprint("features/f", i)
		units = append(units, on(int64(i%3), table(id, fmt.Sprintf(`{"n":%d}`, i))))
		b.fake.behave[id] = behaviour{takes: 5 * time.Millisecond}
	}
	b.fake.behave["features/f1"] = behaviour{fails: 1}
	units[1].Retries = 1
	units = append(units, on(1, service("deployments/s", `{}`)))
	b.mustLend(pool(3), units...)
	before := b.had("deployments/s")
	task := b.fake.task(b.current("deployments/s").Handle.ID)
	if len(task.Devices) != 1 || task.Devices[0].Name != before || task.Devices[0].ID != "UUID-"+strings.TrimPrefix(before, "gpu=") {
		t.Errorf("the service has %+v, recorded is %q", task.Devices, before)
	}

	// In the next apply it still has them, and its successor gets them.
	units[1] = on(2, table("features/f1", `{"n":100}`))
	units[12] = on(1, service("deployments/s", `{"n":2}`))
	b.mustLend(pool(3), units...)
	if got := b.had("deployments/s"); strings.ReplaceAll(strings.ReplaceAll(got, before, ""), ", ", "") != "" {
		t.Errorf("the services had %s", got)
	}
	if got, _, _ := strings.Cut(b.had("features/f1"), ","); strings.Contains(got, before) || !strings.Contains(got, "+") {
		t.Errorf("the job had %s beside the service with %s", got, before)
	}
}

func TestUnreturnedDevicesAreNotAssignedAgain(t *testing.T) {
	b := newBench(t)
	b.fake.behave["features/a"] = behaviour{hangs: true, undying: errors.New("no answer")}
	a := on(1, table("features/a", `{"n":1}`))
	a.Timeout = 10 * time.Millisecond
	b.fake.behave["features/b"] = behaviour{takes: 40 * time.Millisecond} // so that not everything ends before it
	_, err := b.lend(pool(2), a, on(1, table("features/b", `{"n":2}`)), on(1, table("features/c", `{"n":3}`)), on(1, table("features/d", `{"n":4}`)))
	failure(t, err, "features/a")
	b.fake.behave["features/a"] = behaviour{}
	b.mustLend(pool(2), on(2, table("features/e", `{"n":5}`)))
}

func TestLeftoversOfAKilledApplyKeepTheirGPUs(t *testing.T) {
	b := newBench(t)
	wanted, unwanted := on(1, table("features/a", `{"n":1}`)), on(1, table("features/b", `{"n":2}`))
	b.fake.behave["features/a"] = behaviour{takes: 30 * time.Millisecond}
	b.fake.behave["features/b"] = behaviour{hangs: true}
	b.left(wanted, "gpu=1")
	b.left(unwanted, "gpu=0")
	b.fake.behave["features/b"] = behaviour{}
	b.mustLend(pool(2), wanted, on(1, table("features/b", `{"n":3}`)), on(1, table("features/c", `{"n":4}`)), on(2, table("features/d", `{"n":5}`)))
	if got := b.had("features/a"); got != "gpu=1" || len(b.fake.started("features/a")) != 1 {
		t.Errorf("what was adopted had %s, and was started as %v", got, b.fake.started("features/a"))
	}
}

// left is began, with devices.
func (b *bench) left(u ir.Unit, devices ...string) {
	b.Helper()
	b.ok(u.Define())
	r := state.Run{Key: ir.RunKey(u.Digest, nil), Unit: u.ID, Definition: u.Digest, Revision: 1, Attempt: 1, Devices: devices}
	var err error
	r.ID, err = b.lease.Begin(b.Context(), r)
	b.ok(err)
	name := executors.TaskName("", u.ID, r.Key, 1)
	dir := filepath.Join(b.dir, "runs", name)
	b.ok(os.MkdirAll(filepath.Join(dir, "out"), 0o755))
	t := executors.Task{Unit: u, Key: r.Key, Name: name, Dir: dir}
	for _, d := range devices {
		t.Devices = append(t.Devices, executors.Device{Name: d})
	}
	h, err := b.fake.Apply(b.Context(), t, nil)
	b.ok(err)
	b.ok(b.lease.SetHandle(b.Context(), r.ID, h))
}

// What a killed apply left of a unit that has to wait makes room for the unit that it
// waits for.
func TestWaitingUnitsDoNotBlockGPUs(t *testing.T) {
	b := newBench(t)
	b.fake.behave["features/b"] = behaviour{hangs: true}
	first := on(1, table("features/a", `{"n":2}`))
	b.left(on(1, table("features/b", `{}`, "features/a")), "gpu=0")
	b.fake.behave["features/b"] = behaviour{}
	b.mustLend(pool(1), first, on(1, table("features/b", `{}`, "features/a")))
}

func TestUndeclaredServiceFreesItsAddress(t *testing.T) {
	b := newBench(t)
	b.mustLend(pool(1), on(1, service("deployments/old", `{"n":1}`)))
	b.mustLend(pool(1), on(1, service("deployments/new", `{"n":2}`)))
	if left := b.fake.alive(); len(left) != 1 || !strings.HasPrefix(left[0], "deployments-new") {
		t.Errorf("alive: %v", left)
	}
}

// There is room by number, but on no single device.
func TestAUnitForWhichThereIsNoRoomFails(t *testing.T) {
	b := newBench(t)
	p := ir.Pool{Resources: ir.Resources{GPU: 2, GPUMemory: 40}, Shares: 4}
	share := func(id string, memory int64) ir.Unit {
		u := on(1, service("deployments/"+id, `{"n":"`+id+`"}`))
		u.Needs.GPUMemory = memory
		return u
	}
	b.mustLend(p, share("a", 30), share("b", 30), on(0, table("features/c", `{}`)))
	whole := on(1, table("features/c", `{"n":2}`))
	whole.Needs.GPUMemory = 20
	_, err := b.lend(p, share("a", 30), share("b", 30), whole, table("features/d", `{"n":3}`))
	if want := "no room in pool gpus: it waits for 2 shares of GPUs, which deployed services hold"; failure(t, err, "features/c").Err.Error() != want {
		t.Errorf("error %v", err)
	}
	if b.eventsOf("features/d") != "started finished" {
		t.Errorf("what needs none: %s", b.eventsOf("features/d"))
	}
}

func TestBorrowerIsPreemptedForAGuaranteeAndRunsAgain(t *testing.T) {
	b := newBench(t)
	p := pool(2)
	p.Teams = []ir.Team{{Name: "guests", Borrow: true, Yields: true}, {Name: "owners", GPU: 2}}
	of := func(team string, u ir.Unit) ir.Unit { u.Team = team; return u }
	b.fake.behave["features/a"] = behaviour{hangs: true}
	b.fake.behave["features/b"] = behaviour{takes: 20 * time.Millisecond}
	o := table("features/b", `{"n":2}`) // while it runs, a starts
	again := func(e executors.Event) {
		if e.Type == executors.EventPreempted {
			b.fake.mu.Lock()
			b.fake.behave["features/a"] = behaviour{}
			b.fake.mu.Unlock()
		}
	}
	b.watch = again
	b.mustLend(p, of("guests", on(2, table("features/a", `{"n":1}`))), o, of("owners", on(1, table("features/c", `{"n":3}`, "features/b"))))
	if got := b.eventsOf("features/a"); got != "started preempted started finished" {
		t.Errorf("events: %s", got)
	}
	at := slices.IndexFunc(b.events, func(e executors.Event) bool { return e.Type == executors.EventPreempted })
	if e := b.events[at]; e.By != "features/c" || e.Attempt != 1 {
		t.Errorf("event %+v", e)
	}
	runs, err := b.store.Runs(t.Context(), "features/a", 5)
	b.ok(err)
	if len(runs) != 2 || runs[0].Outcome != state.Done || runs[1].Outcome != state.Canceled || runs[1].Error != "preempted: its GPUs are guaranteed to features/c" {
		t.Errorf("runs: %+v", runs)
	}
}
