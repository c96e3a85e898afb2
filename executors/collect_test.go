package executors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// collect finds garbage.
func (b *bench) collect(k executors.Retention) *executors.Collection {
	b.Helper()
	c, err := executors.Collect(b.Context(), b.options(), k)
	b.ok(err)
	return c
}

// kinds counts garbage.
func kinds(c *executors.Collection) map[string]int {
	n := map[string]int{}
	for _, g := range c.Garbage {
		n[g.Kind]++
	}
	return n
}

func TestCollectRemovesArtifactsOfOldRevisions(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		a := table("sources/a", fmt.Sprintf(`{"v":%d}`, i))
		a.Code.Files = []ir.CodeFile{{Path: "a", Digest: ir.Sum(fmt.Append(nil, i))}}
		p := b.plan([]ir.Unit{a, table("sources/same", `{}`)})
		p.Blobs = map[string][]byte{a.Code.Files[0].Digest: fmt.Append(nil, i)}
		if _, err := executors.Apply(t.Context(), p, b.options()); err != nil {
			t.Fatal(err)
		}
	}
	c := b.collect(executors.Retention{Revisions: 2})
	if c.Oldest[""] != 4 || len(c.Revisions) != 3 || c.Runs != 3 {
		t.Errorf("from @%d: %d revisions, %d runs", c.Oldest[""], len(c.Revisions), c.Runs)
	}
	// For each revision: IR, plan, what was deployed, the code and the table of a.
	if diff := cmp.Diff(map[string]int{"artifact": 15, "run": 3, "code": 3}, kinds(c)); diff != "" {
		t.Errorf("garbage (-want +got):\n%s", diff)
	}
	for _, g := range c.Garbage {
		if g.Size <= 0 && g.Kind != "run" {
			t.Errorf("%s %s has the size %d", g.Kind, g.Name, g.Size)
		}
	}
	before, err := b.store.Used(t.Context(), map[string]string{"sources/a": b.current("sources/a").Definition})
	b.ok(err)
	meta, err := b.store.Meta(t.Context())
	b.ok(err)
	b.ok(c.Remove(t.Context()))
	if now, err := b.store.Meta(t.Context()); err != nil || now.Serial == meta.Serial {
		t.Errorf("a plan that was made before is not refused: %v", err)
	}
	if again := b.collect(executors.Retention{Revisions: 2}); !again.Empty() {
		t.Errorf("there is more: %+v", again)
	}
	// Their usage is still known.
	runs, err := b.store.Runs(t.Context(), "sources/a", 0)
	b.ok(err)
	if len(runs) != 5 || runs[4].Outcome != state.Pruned || runs[4].Usage.CPU != time.Second || runs[4].Log != "" || len(runs[4].Outputs) > 0 {
		t.Errorf("runs: %+v", runs)
	}
	if used, err := b.store.Used(t.Context(), map[string]string{"sources/a": b.current("sources/a").Definition}); err != nil || !cmp.Equal(used, before) {
		t.Errorf("used %v, was %v, %v", used, before, err)
	}
	if times, err := b.store.Estimates(t.Context()); err != nil || len(times["sources/a"]) != 5 {
		t.Errorf("estimates %v, %v", times, err)
	}
	// The numbering of revisions continues.
	if res := b.mustApply(table("sources/b", `{}`)); res.Revision != 6 {
		t.Errorf("the next revision is %d", res.Revision)
	}
}

func TestEstimatesUseTheLastRuns(t *testing.T) {
	b := newBench(t)
	for i := range 14 {
		b.mustApply(table("sources/a", fmt.Sprintf(`{"v":%d}`, i)), table("sources/gone", fmt.Sprintf(`{"w":%d}`, i)))
	}
	b.mustApply(table("sources/a", `{"v":13}`))
	b.ok(b.collect(executors.Retention{Revisions: 1}).Remove(t.Context()))
	runs, err := b.store.Runs(t.Context(), "sources/a", 0)
	b.ok(err)
	if len(runs) != 10 {
		t.Errorf("%d runs are left", len(runs))
	}
	if runs, err := b.store.Runs(t.Context(), "sources/gone", 0); err != nil || len(runs) > 0 {
		t.Errorf("of a unit that is nowhere any more there is %v, %v", runs, err)
	}
	if times, err := b.store.Estimates(t.Context()); err != nil || len(times) != 1 {
		t.Errorf("estimates %v, %v", times, err)
	}
}

func TestRecentAndJournaledArtifactsStay(t *testing.T) {
	b := newBench(t)
	for i := range 4 {
		b.mustApply(table("sources/a", fmt.Sprintf(`{"v":%d}`, i)))
	}
	if c := b.collect(executors.Retention{Revisions: 1, Age: time.Hour}); !c.Empty() {
		t.Errorf("of what is younger than an hour there goes %+v", c)
	}
	if c := b.collect(executors.Retention{Revisions: 1, Age: time.Nanosecond}); len(c.Revisions) != 3 {
		t.Errorf("of what is older than nothing there goes %+v", c)
	}
	// An apply was killed after it moved the output and before it recorded that.
	stray := filepath.Join(t.TempDir(), "out")
	b.ok(os.WriteFile(stray, []byte("moved"), 0o644))
	a, err := b.arts.Put(t.Context(), stray, "table")
	b.ok(err)
	run := state.Run{Key: strings.Repeat("f", 32), Unit: "sources/a", Revision: 2, Attempt: 1}
	run.ID, err = b.lease.Begin(t.Context(), run)
	b.ok(err)
	dir := filepath.Join(b.dir, "runs", executors.TaskName("", run.Unit, run.Key, run.Attempt))
	b.ok(os.MkdirAll(dir, 0o755))
	b.ok(os.WriteFile(filepath.Join(dir, "outputs.json"), fmt.Appendf(nil, `{"out":{"digest":%q}}`, a.Digest), 0o644))
	c := b.collect(executors.Retention{Revisions: 1})
	if c.Oldest[""] != 2 {
		t.Errorf("the oldest that stays is @%d, and the journal has a run of @2", c.Oldest[""])
	}
	b.ok(c.Remove(t.Context()))
	if _, err := os.Stat(dir); err != nil || !b.arts.Has(a.Digest) {
		t.Errorf("what the journal has an entry of is gone: %v", err)
	}
}

func TestVersionsOfModelsStayUnlessTheyAreBounded(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		train := model("models/m/train", fmt.Sprintf(`{"v":%d}`, i))
		register := model("models/m/register", `{}`)
		register.Kind, register.Component = ir.Record, "registry.model"
		register.Inputs = []ir.Input{{Port: "model", Unit: "models/m/train", From: "model", Kind: ir.Model}}
		b.mustApply(train, register)
	}
	versions, err := b.store.ModelVersions(t.Context(), "models/m") // newest first
	b.ok(err)
	there := func() (there []int) {
		now, err := b.store.ModelVersions(t.Context(), "models/m")
		b.ok(err)
		for _, v := range now {
			if b.arts.Has(v.Digest) {
				there = append(there, v.Version)
			}
		}
		return there
	}
	b.ok(b.collect(executors.Retention{Revisions: 1}).Remove(t.Context()))
	if got := there(); !slices.Equal(got, []int{5, 4, 3, 2, 1}) {
		t.Errorf("there are the versions %v", got)
	}
	for _, v := range versions[3:] { // 2, and then 1, are restored
		_, err := b.lease.Register(t.Context(), v)
		b.ok(err)
	}
	b.ok(b.collect(executors.Retention{Revisions: 1, Models: 1}).Remove(t.Context()))
	// 1 is in service, 2 is what a plan compares it with, and 5 has the highest number.
	if got := there(); !slices.Equal(got, []int{5, 2, 1}) {
		t.Errorf("there are the versions %v", got)
	}
	for _, v := range versions[1:3] {
		if b.arts.Has(v.Digest) {
			t.Errorf("the artifact of version %d is there", v.Version)
		}
	}
}

func TestCollectWithoutTheLockRemovesNothing(t *testing.T) {
	b := newBench(t)
	b.mustApply(table("sources/a", `{"v":1}`))
	b.mustApply(table("sources/a", `{"v":2}`))
	c := b.collect(executors.Retention{Revisions: 1})
	b.ok(execOn(filepath.Join(b.dir, "state.db"), "UPDATE lease SET token = token + 1"))
	if err := c.Remove(t.Context()); !errors.Is(err, state.ErrFenced) {
		t.Errorf("%v, want ErrFenced", err)
	}
	for _, g := range c.Garbage {
		if g.Kind == "artifact" && !b.arts.Has(g.Name) {
			t.Errorf("%s is gone", g.Name)
		}
	}
}

// A collector is an executor that keeps images.
type collector struct {
	*fake
	asked []executors.Needed
	dry   []bool
}

func (c *collector) Collect(_ context.Context, n executors.Needed, dry bool) ([]executors.Garbage, error) {
	c.asked, c.dry = append(c.asked, n), append(c.dry, dry)
	return []executors.Garbage{{Kind: "image", Name: "old", Size: 7}}, nil
}

func TestAnExecutorCollectsItsOwn(t *testing.T) {
	b := newBench(t)
	b.mustApply(table("sources/a", `{"v":1}`), service("deployments/d", `{}`))
	x := &collector{fake: b.fake}
	o := b.options()
	o.Executor = x
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c, err := executors.Collect(t.Context(), o, executors.Retention{Revisions: 1, Since: since})
	b.ok(err)
	if diff := cmp.Diff([]executors.Garbage{{Kind: "image", Name: "old", Size: 7}}, c.Garbage); diff != "" {
		t.Errorf("garbage (-want +got):\n%s", diff)
	}
	b.ok(c.Remove(t.Context()))
	if !slices.Equal(x.dry, []bool{true, false}) {
		t.Errorf("asked dry: %v", x.dry)
	}
	for _, n := range x.asked {
		if !n.Since.Equal(since) || !n.Tasks[b.current("deployments/d").Handle.ID] || len(n.Units) == 0 {
			t.Errorf("asked with %+v", n)
		}
	}
}

// A partial collector has hosts, of which one does not answer.
type partial struct{ collector }

func (p *partial) Collect(ctx context.Context, n executors.Needed, dry bool) ([]executors.Garbage, error) {
	found, err := p.collector.Collect(ctx, n, dry)
	return found, errors.Join(err, &executors.PartialError{Lacks: []string{"host b"}, Errs: []error{errors.New("b is lost")}})
}

// What the other hosts have is listed before it is removed.
func TestAHostThatDoesNotAnswerHidesNoGarbageOfOthers(t *testing.T) {
	b := newBench(t)
	b.mustApply(table("sources/a", `{"v":1}`))
	x := &partial{collector{fake: b.fake}}
	o := b.options()
	var err error
	o.Executor, err = executors.Route("hosts", []string{"hosts"}, func(string) (executors.Executor, error) { return x, nil })
	b.ok(err)
	c, err := executors.Collect(t.Context(), o, executors.Retention{Revisions: 1})
	b.ok(err)
	if diff := cmp.Diff([]executors.Garbage{{Kind: "image", Name: "old", Size: 7}}, c.Garbage); diff != "" {
		t.Errorf("garbage (-want +got):\n%s", diff)
	}
	if c.Unseen == nil || !slices.Equal(c.Unseen.Lacks, []string{"host b"}) {
		t.Errorf("unseen is %v", c.Unseen)
	}
}

// Whatever systems were applied, whatever went wrong, and wherever a collection was
// stopped: afterwards the plan for what is deployed is unchanged, every kept revision can
// be restored as before, and the next collection finds nothing.
func TestCollectKeepsEverythingNeeded(t *testing.T) {
	top := inMemory(t)
	rapid.Check(t, func(rt *rapid.T) {
		var sketches []*sketch
		for i := range rapid.IntRange(1, 5).Draw(rt, "entities") {
			sketches = append(sketches, drawSketch(rt, i))
		}
		var rounds []round
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			rounds = append(rounds, drawRound(rt, len(sketches)))
		}
		keep := executors.Retention{Revisions: rapid.IntRange(1, 4).Draw(rt, "keep"), Models: rapid.IntRange(0, 3).Draw(rt, "models")}
		stop := rapid.IntRange(0, 20).Draw(rt, "stopped after")
		story := storyOf(sketches, rounds)
		dir, err := os.MkdirTemp(top, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer removeTree(dir)
		if err := inBubble(t, func(ctx context.Context) error {
			w := newWorld(ctx, dir, sketches)
			defer w.close()
			for i, r := range rounds {
				for _, e := range r.edits {
					w.edit(ctx, e)
				}
				if err := w.round(ctx, r); err != nil {
					return fmt.Errorf("round %d: %w", i+1, err)
				}
			}
			w.liar.behave()
			return w.collected(ctx, keep, stop)
		}); err != nil {
			rt.Fatalf("%v\n\n%s  keep %+v, stopped after %d", err, story, keep, stop)
		}
	})
}

// collected collects, is stopped halfway, collects again, and compares.
func (w *world) collected(ctx context.Context, keep executors.Retention, stop int) error {
	o := w.options(w.liar)
	c, err := executors.Collect(ctx, o, keep)
	must(err)
	before := w.possible(ctx, c.Oldest[""])
	executors.StopAfter(c, stop)
	if err := c.Remove(ctx); err != nil && !errors.Is(err, executors.ErrStopped) {
		return err
	}
	if diff := cmp.Diff(before, w.possible(ctx, c.Oldest[""])); diff != "" {
		return fmt.Errorf("after a collection that was stopped (-before +after):\n%s", diff)
	}
	c, err = executors.Collect(ctx, o, keep)
	must(err)
	must(c.Remove(ctx))
	if diff := cmp.Diff(before, w.possible(ctx, c.Oldest[""])); diff != "" {
		return fmt.Errorf("after the collection (-before +after):\n%s", diff)
	}
	c, err = executors.Collect(ctx, o, keep)
	must(err)
	if !c.Empty() {
		return fmt.Errorf("after the collection there is more: %+v", c)
	}
	return w.converge(ctx)
}

// possible returns the plan of what is declared, if that is deployed, and for every
// revision from oldest on the plan that restores it, or why that is impossible.
func (w *world) possible(ctx context.Context, oldest int) map[string]string {
	out := map[string]string{}
	tell := func(what string, p *planner.Plan, err error) {
		if err != nil {
			out[what] = err.Error()
			return
		}
		b, err := json.MarshalIndent(p.Items, "", " ")
		must(err)
		out[what] = string(b)
	}
	w.now = time.Now()
	// What was never applied may or may not find an old run.
	current, err := w.store.Current(ctx)
	must(err)
	if !slices.ContainsFunc(units(w.sketches), func(u ir.Unit) bool {
		must(u.Define())
		return current[u.ID].Definition != u.Digest
	}) {
		p, err := w.plan(ctx)
		tell("plan", p, err)
	}
	revisions, err := w.store.Revisions(ctx, 0)
	must(err)
	for _, r := range revisions {
		if r.Number < oldest || r.Deployed == "" {
			continue
		}
		past := planner.Past{Revision: r.Number, System: new(ir.System)}
		for digest, v := range map[string]any{r.IR: past.System, r.Deployed: &past.Deployed} {
			b, err := w.arts.Bytes(ctx, digest)
			must(err)
			must(json.Unmarshal(b, v))
		}
		p, err := planner.PlanRollback(ctx, past, planner.Inputs{
			Dir: w.dir, State: w.store, Artifacts: w.arts, Digests: planner.NewFileDigests(w.stateDir()), Inspector: w.liar,
			Options: planner.Options{Now: w.now},
		})
		tell(fmt.Sprint("@", r.Number), p, err)
	}
	return out
}
