package executors_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

func TestApplyRunsAGraphOnceAndThenReusesAllOfIt(t *testing.T) {
	b := newBench(t)
	units := []ir.Unit{table("sources/a", `{}`), table("features/b", `{}`, "sources/a"), model("models/c/train", `{}`, "features/b")}
	res := b.mustApply(units...)
	if res.Revision != 1 || res.Outcome != state.Done || res.Counts != (executors.Counts{Ran: 3}) {
		t.Errorf("first apply: %+v", res)
	}
	run, err := b.store.Run(t.Context(), b.current("features/b").Run)
	b.ok(err)
	if a := run.Outputs["out"]; a.Rows != 7 || !b.arts.Has(a.Digest) {
		t.Errorf("the table is recorded as %+v", a)
	}
	if run.Usage.CPU != time.Second {
		t.Errorf("usage is not recorded: %+v", run.Usage)
	}
	if left := b.fake.alive(); len(left) > 0 {
		t.Errorf("left with the executor: %v", left)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "runs", executors.TaskName("", "features/b", run.Key, 1), "out")); err == nil {
		t.Error("the run's folder out was not removed")
	}

	res = b.mustApply(units...)
	if res.Revision != 2 || res.Counts != (executors.Counts{Reused: 3}) {
		t.Errorf("second apply: %+v", res)
	}
	if n := len(b.fake.started("features/b")); n != 1 {
		t.Errorf("features/b ran %d times", n)
	}
}

func TestEarlyCutoffStopsAChangeThatMakesTheSameBytes(t *testing.T) {
	b := newBench(t)
	units := func(n string) []ir.Unit {
		return []ir.Unit{table("sources/a", `{"n":`+n+`,"always":"same"}`), table("features/b", `{}`, "sources/a"), table("features/c", `{}`, "features/b")}
	}
	b.mustApply(units("1")...)
	res := b.mustApply(units("2")...)
	if res.Counts != (executors.Counts{Ran: 1, Reused: 2}) {
		t.Errorf("counts %+v", res.Counts)
	}
	if got := b.eventsOf("features/b"); got != "started finished reused" {
		t.Errorf("events of features/b: %s", got)
	}
}

func TestRerunRunsRecordedUnits(t *testing.T) {
	b := newBench(t)
	units := []ir.Unit{table("sources/a", `{}`), table("features/b", `{}`, "sources/a")}
	b.mustApply(units...)
	res, err := executors.Apply(t.Context(), b.plan(units, "features/b", "sources/a"), b.options())
	b.ok(err)
	if res.Counts != (executors.Counts{Ran: 2}) {
		t.Errorf("counts %+v", res.Counts)
	}
	if got := b.fake.started("features/b"); len(got) != 2 {
		t.Errorf("started %v: a second run needs a name of its own", got)
	}
}

func TestUnitsWithOneKeyRunOnce(t *testing.T) {
	b := newBench(t)
	res := b.mustApply(table("features/one", `{}`), table("features/two", `{}`))
	if res.Counts != (executors.Counts{Ran: 1, Reused: 1}) {
		t.Errorf("counts %+v", res.Counts)
	}
}

func TestParallelWithinThePools(t *testing.T) {
	b := newBench(t)
	var units []ir.Unit
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		u := table("features/"+id, `{"id":"`+id+`"}`)
		u.Needs.MilliCPU = 1500
		units = append(units, u)
		b.fake.behave[u.ID] = behaviour{takes: 20 * time.Millisecond}
	}
	b.mustApply(units...)
	if b.fake.peak.MilliCPU != 3000 || b.fake.most != 2 {
		t.Errorf("at most %d milli-cores in %d tasks at once; two of 1.5 cores fit into 4", b.fake.peak.MilliCPU, b.fake.most)
	}
}

func TestParallelBoundsHowManyRun(t *testing.T) {
	b := newBench(t)
	var units []ir.Unit
	for _, id := range []string{"a", "b", "c", "d"} {
		units = append(units, table("features/"+id, `{"id":"`+id+`"}`))
		b.fake.behave["features/"+id] = behaviour{takes: 5 * time.Millisecond}
	}
	o := b.options()
	o.Parallel = 1
	_, err := executors.Apply(t.Context(), b.plan(units), o)
	b.ok(err)
	if b.fake.most != 1 {
		t.Errorf("%d ran at once", b.fake.most)
	}
}

func TestAUnitThatFitsNoPoolIsRefusedBeforeAnythingStarts(t *testing.T) {
	b := newBench(t)
	big := table("features/big", `{}`)
	big.Needs.MilliCPU = 5000
	_, err := b.apply(table("sources/a", `{}`), big)
	if err == nil || err.Error() != "features/big does not fit pool machine: it requests 5 cores of 4" {
		t.Errorf("error %v", err)
	}
	if len(b.fake.calls) > 0 {
		t.Errorf("started %v", b.fake.calls)
	}
}

// A cluster has more resources than this machine, and queues what it has no room for. A
// pool still limits what draws from it.
func TestWithoutABoundOnlyPoolsAreCounted(t *testing.T) {
	b := newBench(t)
	big := table("features/big", `{}`)
	big.Needs = ir.Resources{MilliCPU: 500_000, Memory: 1 << 60, GPU: 9, GPUModel: "any", Nodes: 8}
	o := b.options()
	o.Unbounded = true
	o.Devices = func(context.Context, []ir.Pool) (map[string][]executors.GPU, error) { return nil, nil }
	_, err := executors.Apply(t.Context(), b.plan([]ir.Unit{big}), o)
	b.ok(err)

	p := b.plan([]ir.Unit{big, table("features/drawn", `{"n":1}`)})
	drawn := p.System.Unit("features/drawn")
	drawn.Needs, drawn.Pool = ir.Resources{MilliCPU: 3000}, "small"
	p.System.Pools = []ir.Pool{{Name: "small", Resources: ir.Resources{MilliCPU: 2000}}}
	_, err = executors.Apply(t.Context(), p, o)
	if want := "features/drawn does not fit pool small: it requests 3 cores of 2"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestAFailedUnitIsRetriedAsDeclared(t *testing.T) {
	b := newBench(t)
	a := table("sources/a", `{}`)
	a.Retries = 2
	b.fake.behave["sources/a"] = behaviour{fails: 2}
	b.mustApply(a)
	if got := b.eventsOf("sources/a"); got != "started retried started retried started finished" {
		t.Errorf("events: %s", got)
	}
	names := b.fake.started("sources/a")
	if len(names) != 3 || !strings.HasSuffix(names[2], "-3") {
		t.Errorf("names %v: every attempt has its own", names)
	}
}

func TestAFailedUnitBlocksWhatDependsOnItAndNothingElse(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{fails: 9, code: 3, log: "loading\nno such column: age\n"}
	res, err := b.apply(table("sources/a", `{"id":1}`), table("features/b", `{}`, "sources/a"), table("features/c", `{}`, "features/b"),
		table("sources/z", `{"id":2}`))
	u := failure(t, err, "sources/a")
	if u.Error() != "sources/a: exited with 3" || u.Attempt != 1 {
		t.Errorf("error %q in attempt %d", u, u.Attempt)
	}
	if !slices.Equal(u.LogTail, []string{"loading", "no such column: age"}) {
		t.Errorf("log %q", u.LogTail)
	}
	if _, err := os.Stat(u.LogPath); err != nil {
		t.Errorf("the log is gone: %v", err)
	}
	want := []executors.Blocked{{Unit: "features/b", By: "sources/a"}, {Unit: "features/c", By: "sources/a"}}
	if !slices.Equal(res.Blocked, want) {
		t.Errorf("blocked %v, want %v", res.Blocked, want)
	}
	if res.Outcome != state.Failure || res.Counts.Ran != 1 {
		t.Errorf("result %+v", res)
	}
	runs, err := b.store.Runs(t.Context(), "sources/a", 1)
	b.ok(err)
	if runs[0].Outcome != state.Failure || runs[0].Error != "exited with 3" {
		t.Errorf("recorded as %+v", runs[0])
	}
	// What succeeded is not repeated.
	b.fake.behave["sources/a"] = behaviour{}
	res = b.mustApply(table("sources/a", `{"id":1}`), table("features/b", `{}`, "sources/a"), table("sources/z", `{"id":2}`))
	if res.Counts != (executors.Counts{Ran: 2, Reused: 1}) {
		t.Errorf("counts of the second apply: %+v", res.Counts)
	}
}

func TestAJobThatTakesTooLongIsEnded(t *testing.T) {
	b := newBench(t)
	a := table("sources/a", `{}`)
	a.Timeout = 30 * time.Millisecond
	b.fake.behave["sources/a"] = behaviour{hangs: true}
	_, err := b.apply(a)
	if u := failure(t, err, "sources/a"); u.Err.Error() != "took longer than its timeout 30ms" {
		t.Errorf("error %q", u)
	}
	if left := b.fake.alive(); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

// The time of a job that waits in a queue of the cluster has not begun, and a job that
// started after we began to wait has its full time.
func TestTheTimeOfAJobBeginsWhenItDoes(t *testing.T) {
	b := newBench(t)
	a := table("sources/a", `{}`)
	a.Timeout = 30 * time.Millisecond
	var waits int
	b.fake.behave["sources/a"] = behaviour{hangs: true, late: func() state.Status {
		switch waits++; waits {
		case 1, 2:
			return state.Status{Phase: state.Running, Queued: true}
		case 3:
			return state.Status{Phase: state.Running, Started: time.Now()}
		}
		return state.Status{Phase: state.Running, Started: time.Now().Add(-time.Hour), Message: "no node fits it", Lacking: true}
	}}
	res, err := b.apply(a)
	if executors.Lacking(res, err) == nil {
		t.Error("the error does not say that the platform lacks something")
	}
	if u := failure(t, err, "sources/a"); u.Err.Error() != "took longer than its timeout 30ms: no node fits it" {
		t.Errorf("error %q", u)
	}
	if waits != 4 {
		t.Errorf("it was waited for %d times", waits)
	}
}

func TestCancelStopsRunningUnitsAndStartsNoMore(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{hangs: true}
	ctx, cancel := context.WithCancelCause(t.Context())
	o := b.options()
	tell := o.Events
	interrupted := errors.New("interrupted")
	o.Events = func(e executors.Event) {
		tell(e)
		if e.Unit == "sources/a" && e.Type == executors.EventStarted {
			time.AfterFunc(10*time.Millisecond, func() { cancel(interrupted) })
		}
	}
	res, err := executors.Apply(ctx, b.plan([]ir.Unit{table("sources/a", `{}`), table("features/b", `{}`, "sources/a")}), o)
	if !errors.Is(err, interrupted) {
		t.Errorf("error %v", err)
	}
	if res.Outcome != state.Canceled || !slices.Equal(res.Canceled, []string{"features/b", "sources/a"}) && !slices.Equal(res.Canceled, []string{"sources/a", "features/b"}) {
		t.Errorf("result %+v", res)
	}
	if left := b.fake.alive(); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
	rev, err := b.store.Revision(t.Context(), res.Revision)
	b.ok(err)
	if rev.Outcome != state.Canceled {
		t.Errorf("the revision ended as %s", rev.Outcome)
	}
	if left, _ := b.store.Pending(t.Context()); len(left) > 0 {
		t.Errorf("the journal holds %v", left)
	}
}

func TestAPlanOfAnotherStateIsRefused(t *testing.T) {
	b := newBench(t)
	units := []ir.Unit{table("sources/a", `{}`)}
	p := b.plan(units)
	b.mustApply(units...)
	if _, err := executors.Apply(t.Context(), p, b.options()); !errors.Is(err, executors.ErrMoved) {
		t.Errorf("error %v", err)
	}
	p = b.plan(units)
	p.State.Lineage = "another"
	if _, err := executors.Apply(t.Context(), p, b.options()); !errors.Is(err, executors.ErrMoved) {
		t.Errorf("error %v", err)
	}
}

func TestInputsAreGivenAsTheContractSays(t *testing.T) {
	b := newBench(t)
	source := table("sources/a", `{}`)
	u := table("features/b", `{}`, "sources/a")
	given := source.Outputs[0]
	u.Inputs[0].Schema, u.Inputs[0].Keys, u.Inputs[0].Timestamp = given.Schema, given.Keys, given.Timestamp
	u.Files = []string{"data/*.csv"}
	u.Secrets = []ir.Secret{{Name: "TOKEN", Env: "X"}, {Name: "KEY", Kubernetes: &ir.SecretKey{Name: "hub", Key: "key"}}}
	u.Code = ir.Code{Runtime: ir.Command, Command: []string{"./run"}, Files: []ir.CodeFile{{Path: "sub/run", Digest: ir.Sum([]byte("#!"))}}, Lock: ir.Sum([]byte("lock")), Environments: []string{ir.Sum([]byte("other"))}}
	b.ok(os.MkdirAll(filepath.Join(b.dir, "..", "data"), 0o755))
	b.ok(os.WriteFile(filepath.Join(b.dir, "..", "data", "x.csv"), []byte("1"), 0o644))
	b.fake.behave["features/b"] = behaviour{hangs: true}
	p := b.plan([]ir.Unit{source, u})
	p.Blobs = map[string][]byte{ir.Sum([]byte("#!")): []byte("#!"), ir.Sum([]byte("lock")): []byte("lock"), ir.Sum([]byte("other")): []byte("other")}
	o := b.options()
	o.Secrets = func(s ir.Secret) (string, error) { return "hidden-" + s.Env, nil }
	o.Events = func(e executors.Event) {
		if e.Unit == "features/b" && e.Type == executors.EventStarted {
			go func() {
				for len(b.fake.started("features/b")) == 0 {
					time.Sleep(time.Millisecond)
				}
				task := b.fake.task(b.fake.started("features/b")[0])
				in := task.Inputs["in0"]
				if in.Format != "parquet" || in.Path != b.arts.Path(in.Digest) || in.Created == "" || in.Schema.Column("age") == nil {
					t.Errorf("input %+v", in)
				}
				if got := task.Files["data/*.csv"]; !slices.Equal(got, []string{filepath.Join(filepath.Dir(b.dir), "data", "x.csv")}) {
					t.Errorf("files %v", got)
				}
				if !maps.Equal(task.Env, map[string]string{"TOKEN": "hidden-X"}) { // the cluster provides the other one
					t.Errorf("environment %v", task.Env)
				}
				if c, err := os.ReadFile(filepath.Join(task.Code, "sub", "run")); string(c) != "#!" {
					t.Errorf("code: %q, %v", c, err)
				}
				if c, err := os.ReadFile(task.Lock); string(c) != "lock" {
					t.Errorf("lock: %q, %v", c, err)
				}
				if c, err := os.ReadFile(task.Environments[ir.Sum([]byte("other"))]); string(c) != "other" {
					t.Errorf("lock of another environment: %q, %v", c, err)
				}
				b.fake.end(task.Name)
			}()
		}
	}
	_, err := executors.Apply(t.Context(), p, o)
	b.ok(err)
}

func TestWithoutAWayToResolveSecretsAUnitFails(t *testing.T) {
	b := newBench(t)
	u := table("sources/a", `{}`)
	u.Secrets = []ir.Secret{{Name: "TOKEN", Env: "X"}}
	_, err := b.apply(u)
	if f := failure(t, err, "sources/a"); f.Err.Error() != "secret TOKEN: this apply does not resolve secrets" {
		t.Errorf("error %q", f)
	}
}

func TestExecutorWithoutWaitIsPolled(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{takes: 30 * time.Millisecond}
	o := b.options()
	o.Executor = struct{ executors.Executor }{b.fake}
	_, err := executors.Apply(t.Context(), b.plan([]ir.Unit{table("sources/a", `{}`)}), o)
	b.ok(err)
}

func TestProgressIsReportedAndGarbageIgnored(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{writes: map[string]string{
		"out/out":              "x",
		executors.ProgressFile: "garbage\n{\"done\": 1, \"total\": 4}\nnull\n{\"done\": 2, \"total\": 4, \"message\": \"epoch 2\"}\n{\"done\": 3",
		executors.MetricsFile:  `{"rmse": 1.5}`,
	}}
	b.mustApply(table("sources/a", `{}`))
	var seen []executors.Event
	for _, e := range b.events {
		if e.Type == executors.EventProgress || e.Type == executors.EventFinished {
			seen = append(seen, e)
		}
	}
	if len(seen) != 2 || seen[0].Done != 2 || seen[0].Message != "epoch 2" || seen[1].Metrics["rmse"] != 1.5 {
		t.Errorf("events %+v", seen)
	}
}

func TestProgressSaysWhyATaskWaits(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{writes: map[string]string{
		"out/out": "x", executors.ProgressFile: `{"done": 0, "waits": "no node has room"}` + "\n",
	}}
	b.mustApply(table("sources/a", `{}`))
	var waits []string
	for _, e := range b.events {
		if e.Type == executors.EventProgress {
			waits = append(waits, e.Waits+e.Message)
		}
	}
	if !slices.Equal(waits, []string{"no node has room"}) {
		t.Errorf("it waits for %q", waits)
	}
}

// A finished job returns its cores before it is recorded. A job that may have left
// something running keeps them until that is gone.
func TestFinishedJobHoldsNoDevices(t *testing.T) {
	// early applies two jobs in a pool for one, and reports whether the second began before
	// the first was recorded.
	early := func(t *testing.T, trails bool) bool {
		b := newBench(t)
		for _, unit := range []string{"sources/a", "sources/b"} {
			b.fake.behave[unit] = behaviour{trails: trails}
		}
		var begun, recorded atomic.Int32
		var before atomic.Bool
		b.store.OnWrite = func(doing string, ended bool) {
			switch {
			case strings.HasPrefix(doing, "begin run") && !ended:
				before.Store(begun.Add(1) == 2 && recorded.Load() == 0 || before.Load())
			case strings.HasPrefix(doing, "finish run") && ended:
				recorded.Add(1)
			}
		}
		o := b.options()
		o.Machine.MilliCPU = 1000
		_, err := executors.Apply(t.Context(), b.plan([]ir.Unit{table("sources/a", `{}`), table("sources/b", `{"n":2}`)}), o)
		b.ok(err)
		if left := b.fake.alive(); len(left) > 0 {
			t.Errorf("alive: %v", left)
		}
		return before.Load()
	}
	t.Run("nothing is left", func(t *testing.T) {
		for range 100 { // which of both writes comes first is a matter of luck
			if early(t, false) {
				return
			}
		}
		t.Error("the second job always waits until the first is recorded")
	})
	t.Run("something may be left", func(t *testing.T) {
		for range 10 {
			if early(t, true) {
				t.Fatal("both run in a pool for one")
			}
		}
	})
}

func TestThePlanAfterAnApplyIsEmpty(t *testing.T) {
	b := newBench(t)
	units := system("1")
	b.mustApply(units...)
	for _, item := range b.plan(units).Items {
		if item.Action.Changes() {
			t.Errorf("%s is to %s: %v", item.Unit, item.Action, item.Reasons)
		}
	}
	if got := b.plan(units).Summary(); got.None+got.Reuse != len(units) || got.Run != 0 {
		t.Errorf("summary %+v", got)
	}
}

func TestADamagedReportIsNotRegistered(t *testing.T) {
	b := newBench(t)
	b.mustApply(system("1")...)
	run, err := b.store.Run(t.Context(), b.current("models/late/evaluate").Run)
	b.ok(err)
	report := filepath.Join(b.arts.Path(run.Outputs["report"].Digest), "report.json")
	b.ok(os.Chmod(report, 0o644))
	b.ok(os.WriteFile(report, []byte(`{"metrics": {"roc_auc": 0.99}}`), 0o644))

	_, err = executors.Apply(t.Context(), b.plan(system("1"), "models/late/register"), b.options())
	var damaged *artifact.DamagedError
	if u := failure(t, err, "models/late/register"); !errors.As(u, &damaged) {
		t.Errorf("error %v", u)
	}
}

func TestOutputChangedAfterVerificationIsNotRecorded(t *testing.T) {
	b := newBench(t)
	o := b.options()
	verify := o.Verify
	o.Verify = func(ctx context.Context, path string, schema ir.Schema, keys []string, refs []executors.Referred) ([]executors.Violation, int64, error) {
		bad, rows, err := verify(ctx, path, schema, keys, refs)
		return bad, rows, errors.Join(err, os.WriteFile(path, []byte("bad, and too late"), 0o644))
	}
	_, err := executors.Apply(t.Context(), b.plan([]ir.Unit{table("sources/a", `{}`)}), o)
	if u := failure(t, err, "sources/a"); !strings.Contains(u.Error(), "output out changed after the step had ended") {
		t.Errorf("error %v", u)
	}
}

func TestADamagedInputIsNotRead(t *testing.T) {
	b := newBench(t)
	a, f := table("sources/a", `{}`), table("features/f", `{}`, "sources/a")
	b.mustApply(a, f)
	run, err := b.store.Run(t.Context(), b.current("sources/a").Run)
	b.ok(err)
	digest := run.Outputs["out"].Digest
	b.ok(os.Chmod(b.arts.Path(digest), 0o644))
	b.ok(os.WriteFile(b.arts.Path(digest), []byte("other rows"), 0o644))

	f = table("features/f", `{"new": 1}`, "sources/a")
	_, err = b.apply(a, f)
	var damaged *artifact.DamagedError
	if u := failure(t, err, "features/f"); !errors.As(u, &damaged) || damaged.Digest != digest {
		t.Errorf("error %v", u)
	}
	if got := len(b.fake.started("features/f")); got != 1 {
		t.Errorf("started %d times", got)
	}
	// The remedy in the error works: once the artifact is removed, it is made again.
	b.ok(os.Remove(b.arts.Path(digest)))
	b.mustApply(a, f)
	b.ok(b.arts.Check(t.Context(), digest))
}

// TestAStepThatChangesItsInputFails has two steps that read one artifact. One of them
// writes to it while both run.
func TestAStepThatChangesItsInputFails(t *testing.T) {
	for name, tamper := range map[string]func(path string) error{
		"other rows": func(path string) error { return os.WriteFile(path, []byte("other rows"), 0o644) },
		"the same rows again": func(path string) error {
			b, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, b, 0o644))
		},
		"another file with the old times": func(path string) error {
			info, err := os.Stat(path)
			return errors.Join(err, os.Remove(path), os.WriteFile(path, []byte("x"), 0o444), os.Chtimes(path, time.Time{}, info.ModTime()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			a, f, g := table("sources/a", `{}`), table("features/f", `{"f": 1}`, "sources/a"), table("features/g", `{"g": 1}`, "sources/a")
			b.mustApply(a)
			run, err := b.store.Run(t.Context(), b.current("sources/a").Run)
			b.ok(err)
			path := b.arts.Path(run.Outputs["out"].Digest)
			b.fake.behave["features/f"] = behaviour{takes: 100 * time.Millisecond, leaves: func(string) error {
				return errors.Join(os.Chmod(path, 0o644), tamper(path))
			}}
			b.fake.behave["features/g"] = behaviour{takes: 500 * time.Millisecond}

			_, err = b.apply(a, f, g)
			for _, unit := range []string{"features/f", "features/g"} {
				if u := failure(t, err, unit); !strings.Contains(u.Error(), "was modified while the step ran") && !strings.Contains(u.Error(), "artifact is not in the store") {
					t.Errorf("%s: %v", unit, u)
				}
			}
			delete(b.fake.behave, "features/f")
			delete(b.fake.behave, "features/g")
			b.mustApply(a, f, g)
			b.ok(b.arts.Check(t.Context(), run.Outputs["out"].Digest))
		})
	}
}
