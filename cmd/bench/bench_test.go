package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func compile(t *testing.T, dir string) *compiler.Result {
	t.Helper()
	sys, err := lang.Load(dir, lang.Options{Env: os.Environ()})
	ok(t, err)
	r, err := compiler.Compile(t.Context(), sys, compiler.Options{Describe: new(engine.Engine).Describe, Default: "process", Executors: map[string]func(ir.Target, ir.Unit) []ir.Fault{
		"process": func(ir.Target, ir.Unit) []ir.Fault { return nil },
	}})
	ok(t, err)
	return r
}

// A written system compiles, and has the units, the edges and the columns that
// its entities stand for. No two units are the same.
func TestSystem(t *testing.T) {
	dir, all := t.TempDir(), entities(130) // more than one file
	ok(t, writeSystem(dir, all))
	files, err := filepath.Glob(filepath.Join(dir, "part*.cue"))
	ok(t, err)
	if len(files) != 2 {
		t.Errorf("the entities are in %v, want two files", files)
	}
	sys := compile(t, dir).System
	if len(sys.Units) != len(all) {
		t.Errorf("%d units, want %d", len(sys.Units), len(all))
	}
	digests := map[string]bool{}
	for i, u := range unitsOf(sys, all) {
		var reads, want []string
		for _, in := range u.Inputs {
			reads = append(reads, in.Unit)
		}
		for _, e := range all[i].reads {
			want = append(want, e.id())
		}
		if !slices.Equal(reads, want) {
			t.Errorf("%s reads %v, want %v", u.ID, reads, want)
		}
		if n := len(u.Outputs[0].Schema); n != 10 {
			t.Errorf("%s has %d columns, want 10", u.ID, n)
		}
		digests[u.Digest] = true
	}
	if len(digests) != len(all) {
		t.Errorf("%d units are different, want all %d", len(digests), len(all))
	}
}

func TestBehind(t *testing.T) {
	all := entities(30)
	source, feature := middle(all)
	for _, c := range []struct {
		what string
		e    *entity
		want int
	}{
		{"the last feature", all[29], 1},
		{"a feature of the group", feature, 5}, // 1, 2, 4, 5, 9
		{"the source of the last group", all[20], 10},
		{"a source that the next group reads", source, 14},
	} {
		if got := behind(all, c.e); got != c.want {
			t.Errorf("%s: %d entities, want %d", c.what, got, c.want)
		}
	}
}

// A recorded state is one that the planner finds nothing to do in, and after a
// change just that.
func TestWriteState(t *testing.T) {
	dir, all := t.TempDir(), entities(30)
	ok(t, writeSystem(dir, all))
	sys := compile(t, dir).System
	ok(t, writeState(t.Context(), dir, sys.Name, unitsOf(sys, all)))

	store, err := state.Open(t.Context(), filepath.Join(dir, ".tenon"))
	ok(t, err)
	defer store.Close()
	artifacts, err := artifact.Open(filepath.Join(dir, ".tenon", "artifacts"))
	ok(t, err)
	planned := func(sys *ir.System) planner.Summary {
		t.Helper()
		p, err := planner.Make(t.Context(), sys, planner.Inputs{Dir: dir, State: store, Artifacts: artifacts,
			Digests: planner.NewFileDigests(filepath.Join(dir, ".tenon"))})
		ok(t, err)
		return p.Summary()
	}
	if s := planned(sys); s.Reuse != 30 {
		t.Errorf("nothing changed, and the plan is %+v", s)
	}
	source, feature := middle(all)
	f := &folder{dir: dir}
	feature.change()
	f.part(all, 0)
	ok(t, f.err)
	if s := planned(compile(t, dir).System); s.Run != 5 || s.Reuse != 25 {
		t.Errorf("a feature changed, and the plan is %+v", s)
	}
	source.change()
	f.write(source.data(), source.rows())
	ok(t, f.err)
	if s := planned(sys); s.Run != 14 || s.Reuse != 16 {
		t.Errorf("a data file changed, and the plan is %+v", s)
	}
}

// ninja sees the same graph.
func TestNinja(t *testing.T) {
	dir, all := t.TempDir(), entities(30)
	ok(t, errors.Join(writeSystem(dir, all), writeNinja(dir, all)))
	ninja := func(runs int, args ...string) {
		t.Helper()
		cmd := exec.Command("ninja", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err := errors.Join(err, ninjaRuns(runs)(string(out))); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	source, feature := middle(all)
	ninja(30)
	ninja(0, "-n")
	feature.change()
	ok(t, writeNinja(dir, all))
	ninja(5, "-n")
	ninja(5)
	f := &folder{dir: dir}
	source.change()
	f.write(source.data(), source.rows())
	ok(t, f.err)
	ninja(14, "-n")
}

func TestSteps(t *testing.T) {
	dir := t.TempDir()
	ok(t, writeSteps(dir, 20))
	sys := compile(t, dir).System
	if len(sys.Units) != 20 || sys.Units[0].Needs.MilliCPU != 1000 {
		t.Errorf("%d units, the first needs %+v", len(sys.Units), sys.Units[0].Needs)
	}
	cmd := exec.Command("sh", "-c", commandOf(t, sys.Units[7]))
	cmd.Env = append(os.Environ(), "TENON_STEP="+filepath.Join(dir, "step.json"))
	ok(t, os.Mkdir(filepath.Join(dir, "out"), 0o755)) // beside the document, as in a run folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if made, err := os.ReadFile(filepath.Join(dir, "out", "number")); err != nil || string(made) != "7\n" {
		t.Errorf("the step made %q, %v", made, err)
	}
}

func commandOf(t *testing.T, u ir.Unit) string {
	t.Helper()
	if len(u.Code.Command) != 3 {
		t.Fatalf("the code of %s is %+v", u.ID, u.Code)
	}
	return u.Code.Command[2]
}

// A filled state has as many units as requested, all of which are current by a
// run, and can be written to.
func TestFillState(t *testing.T) {
	dir := t.TempDir()
	ok(t, fillState(t.Context(), dir, 50))
	var out strings.Builder
	ok(t, run(t.Context(), []string{writerArg, dir, "50"}, &out, &out))
	if took, err := time.ParseDuration(out.String()); err != nil || took <= 0 {
		t.Errorf("the writer says %q", out.String())
	}
	store, err := state.Open(t.Context(), dir)
	ok(t, err)
	defer store.Close()
	current, err := store.Current(t.Context())
	ok(t, err)
	runs, err := store.CurrentRuns(t.Context())
	ok(t, err)
	if len(current) != 50 || len(runs) != 50 {
		t.Errorf("%d units are current and %d have a run, want 50", len(current), len(runs))
	}
	for i := range 50 {
		u := recordedUnit(i)
		r, err := store.RunFor(t.Context(), u.ID, recordedRun(&u, "").Key)
		if err != nil || r.Outputs["out"].Digest == "" {
			t.Errorf("the run of %s is %+v, %v", u.ID, r, err)
		}
	}
}

func testBench(t *testing.T) *bench {
	t.Helper()
	timer, err := exec.LookPath("time")
	ok(t, err)
	return &bench{dir: t.TempDir(), env: os.Environ(), timer: timer}
}

func TestMeasure(t *testing.T) {
	b := testBench(t)
	s, err := b.run(t.Context(), command{args: []string{"sh", "-c", "echo $GIVEN"}, env: []string{"GIVEN=7ms"}, check: has("7ms\n"),
		took: func(out string) (time.Duration, error) { return time.ParseDuration(strings.TrimSpace(out)) }})
	ok(t, err)
	if s.wall != 7*time.Millisecond {
		t.Errorf("it took %v, want what it says", s.wall)
	}
	// A shell takes one or two megabytes; this process takes many more.
	if s.peak <= 0 || s.peak > 8<<20 {
		t.Errorf("the peak memory of a shell is %d bytes", s.peak)
	}
	for what, c := range map[string]command{
		"an exit status":  {args: []string{"sh", "-c", "echo why; exit 3"}},
		"an output":       {args: []string{"echo", "why"}, check: silent},
		"a lack of words": {args: []string{"echo", "why"}, check: has("because")},
	} {
		_, err := b.run(t.Context(), c)
		if f := (*failure)(nil); !errors.As(err, &f) || f.output != "why" {
			t.Errorf("%s is no failure: %v", what, err)
		}
	}
}

// An interrupt ends what runs, and is the error.
func TestInterrupt(t *testing.T) {
	b := testBench(t)
	fifo := filepath.Join(b.dir, "fifo")
	ok(t, exec.Command("mkfifo", fifo).Run())
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	go func() {
		_, _ = os.ReadFile(fifo) // it runs, once it has opened the pipe
		cancel(interrupted)
	}()
	_, err := b.run(ctx, command{args: []string{"sh", "-c", "echo >" + fifo + "; exec tail -f /dev/null"}})
	if !errors.Is(err, interrupted) {
		t.Errorf("the error is %v", err)
	}
}

func TestMedians(t *testing.T) {
	all := []sample{{wall: 5, peak: 1}, {wall: 1, peak: 3}, {wall: 3, peak: 2}}
	if m := medians(all); m.Wall != 3 || m.Peak != 2 || m.Runs != 3 {
		t.Errorf("of three: %+v", m)
	}
	if m := medians(all[:2]); m.Wall != 3 || m.Peak != 2 {
		t.Errorf("of two: %+v", m)
	}
}
