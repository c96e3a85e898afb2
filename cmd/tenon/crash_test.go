package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// variedUnits is a system of units of all kinds, and of few of each, because it is killed at every
// moment: data, a model with its five stages, two services, rules, a chain that is also a fan-in, a
// unit that fails at first, and one that reads a service. %[1]d and %[2]d are ports, %[3]d is the
// edit.
const variedUnits = `package crash

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/feature"
	"tenon.dev/serve"
	"tenon.dev/slo"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/step"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "crash"

_edit: %[3]d

sources: orders: source.#CSV & {
	path: "orders.csv"
	keys: ["id"]
	schema: {id: col.#Int64 & {unique: true}, x: col.#Float64, y: col.#Float64}
}
features: rows: feature.#SQL & {
	in: o: sources.orders.out
	sql: "SELECT id, x + 1 AS x, y FROM o"
	keys: ["id"]
	schema: {id: col.#Int64 & {unique: true}, x: col.#Float64, y: col.#Float64}
}
models: m: train.#SKLearn & {
	in: table: features.rows.out
	label:     "y"
	estimator: "sklearn.linear_model.Ridge"
	test:       split.#Random & {fraction: 0.5}
	evaluation: evaluate.#Regression & {gates: r2: min: 0.5}
}
deployments: {
	a: serve.#HTTP & {in: model: models.m.out, port: %[1]d, max_instances: _edit}
	if _edit == 1 {
		c: serve.#HTTP & {in: model: models.m.out, port: %[2]d}
	}
}
slos: a: slo.#Objectives & {on: deployments.a.out, availability: 0.99}

_work: {files: ["work.sh"], outputs: out: kind: "file", ...}
steps: {
	first: step.#Command & {_work, command: ["sh", "work.sh", "first", "1"]}
	// Edited, it writes something else.
	left: step.#Command & {_work, in: x: first.out.out, command: ["sh", "work.sh", "left", "\(_edit)"]}
	// Edited, it writes the same again.
	right: step.#Command & {_work, in: x: first.out.out, command: ["sh", "work.sh", "right", "1", "\(_edit)"]}
	join: step.#Command & {_work, in: {a: first.out.out, b: left.out.out, c: right.out.out, d: features.rows.out}, command: ["sh", "work.sh", "join", "1"]}
	// It fails at first.
	shaky: step.#Command & {_work, retries: 1, command: ["sh", "work.sh", "shaky", "1", "\(_edit)"]}
	smoke: step.#Command & {_work, in: e: deployments.a.out, command: ["sh", "work.sh", "smoke", "1"]}
	last: step.#Command & {_work, in: {a: join.out.out, b: shaky.out.out}, command: ["sh", "work.sh", "last", "1"]}
}
`

// workSh is the work of a step: NAME TEXT [EDIT]. It derives its output folder from the
// path of the document, to save the time to read it.
const workSh = `dir=${TENON_STEP%/.tenon/*} run=${TENON_STEP%/step.json}
echo "start steps/$1" >> "$dir/ran"
if [ "$1" = shaky ] && [ ! -e "$dir/shaky$3" ]; then
	touch "$dir/shaky$3"
	exit 1
fi
echo "$1 $2" > "$run/out/out"
echo "end steps/$1" >> "$dir/ran"
`

// phases are the operations on the system, in sequence; each is killed at every moment.
var phases = []struct {
	name string
	edit int // of the system, before the phase begins
	args []string
}{
	{"apply", 1, []string{"apply", "--yes"}},
	{"apply of an edit", 2, []string{"apply", "--yes"}},
	{"destroy", 2, []string{"destroy", "--yes"}},
}

// An apply that is killed at any moment and repeated has the same result as an
// undisturbed one: nothing is done twice, nothing is lost, nothing is left over.
func TestKilledAtEveryMoment(t *testing.T) {
	references := lanes(t, 4)
	moments := references[0].moments
	most, all := 0, 0
	for i := range phases {
		all += len(moments[i])
		most = max(most, len(moments[i]))
	}
	fmt.Printf("tenon is killed at %d moments\n", all)
	// The n-th system is killed at the n-th moment of every phase.
	next := make(chan int)
	var wg sync.WaitGroup
	for _, ref := range references {
		wg.Go(func() {
			for n := range next {
				ref.kill(t, n, "")
			}
		})
	}
	for n := range most {
		next <- n
	}
	close(next)
	wg.Wait()
}

// A reference is the result of an undisturbed system. It has its own ports, so that
// others can have the same result while it does not run.
type reference struct {
	ports    []int
	moments  [][]string // by phase
	outcomes []string   // by phase
}

// lanes returns the results of n undisturbed systems.
func lanes(t *testing.T, n int) []*reference {
	t.Helper()
	all := make([]*reference, n)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i] = undisturbed(t) })
	}
	if wg.Wait(); slices.Contains(all, nil) {
		t.FailNow() // it has said why
	}
	return all
}

// undisturbed runs all phases without a kill, or returns nil and reports why not.
func undisturbed(t *testing.T) *reference {
	t.Helper()
	ref := &reference{}
	for range 2 {
		port, release, err := reservePort()
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(release)
		ref.ports = append(ref.ports, port)
	}
	s := newSystem(t, ref.ports)
	defer s.remove()
	trace := filepath.Join(s.dir, "moments")
	for _, p := range phases {
		s.edit(p.edit)
		if out, err := s.tenon(p.args, faultTrace+"="+trace); err != nil {
			t.Errorf("%s: %v\n%s", p.name, err, out)
			return nil
		}
		b, err := os.ReadFile(trace)
		if err != nil {
			t.Error(err)
			return nil
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		slices.Sort(lines)
		ref.moments = append(ref.moments, lines)
		ref.outcomes = append(ref.outcomes, s.outcome())
		if err := os.Remove(trace); err != nil {
			t.Error(err)
			return nil
		}
	}
	return ref
}

// kill runs the phases, is killed at the n-th moment of each, and repeats each. Every
// other time a plan file applies the edit, and then continues the killed revision. The
// state is in a folder unless database is the URL of another one.
func (ref *reference) kill(t *testing.T, n int, database string) {
	s := newSystem(t, ref.ports)
	s.database = database
	defer s.remove()
	for i, p := range phases {
		if n >= len(ref.moments[i]) {
			break
		}
		at := ref.moments[i][n]
		fail := func(format string, args ...any) {
			t.Errorf("%s, killed %s: %s", p.name, at, fmt.Sprintf(format, args...))
		}
		s.edit(p.edit)
		args, before := p.args, 0
		if byFile := i == 1 && n%2 == 1; byFile {
			if out, err := s.tenon([]string{"plan", "--out", "edit.plan"}); err != nil {
				fail("first: %v\n%s", err, out)
				return
			}
			args, before = append(args[:len(args):len(args)], "edit.plan"), s.revisions()
		}
		out, err := s.tenon(args, faultKill+"="+at)
		if killed := (*exec.ExitError)(nil); !errors.As(err, &killed) || killed.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			fail("it was not: %v\n%s", err, out)
			return
		}
		ended := before > 0 && s.revisions() > before && s.ended()
		out, err = s.tenon(args)
		if ended != (err != nil && strings.Contains(out, executors.ErrMoved.Error())) || err != nil && !ended {
			fail("then: %v\n%s", err, out)
			return
		}
		if before > 0 && s.revisions() != before+1 {
			fail("there are %d revisions, and were %d", s.revisions(), before)
			return
		}
		if diff := difference(ref.outcomes[i], s.outcome()); diff != "" {
			fail("it came out otherwise:\n%s", diff)
			return
		}
		if p.args[0] == "apply" {
			if out, err := s.tenon([]string{"plan", "--detailed-exitcode"}); err != nil {
				fail("there is still something to do: %v\n%s", err, out)
				return
			}
		}
	}
	if out, err := s.tenon([]string{"destroy", "--yes"}); err != nil || len(s.processes()) > 0 {
		t.Errorf("killed at moment %d of each phase, then destroyed: %v, %v are left\n%s", n, err, s.processes(), out)
	}
}

// A system is the system of varied units, in its own folder.
type system struct {
	t     *testing.T
	dir   string
	ports []int
	// program is the program that is run on it.
	program string
	// database is the location of its state, if that is not in its folder.
	database string
}

func newSystem(t *testing.T, ports []int) *system {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, dir: dir, ports: ports, program: "tenon-faulty"}
	s.write("cue.mod/module.cue", fmt.Sprintf(moduleText, stdlib.Module, stdlib.Version))
	s.write("work.sh", workSh)
	s.write("orders.csv", "id,x,y\n1,1.5,1\n2,2.5,2\n3,3.5,3\n4,4.5,4\n5,5.5,5\n6,6.5,6\n")
	return s
}

func (s *system) write(name, text string) {
	path := filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		s.t.Error(err)
	}
}

func (s *system) edit(n int) {
	s.write("system.cue", fmt.Sprintf(variedUnits, s.ports[0], s.ports[1], n))
}

// tenon runs tenon on the system.
func (s *system) tenon(args []string, env ...string) (output string, err error) {
	c := s.command(args, env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err = c.Run()
	return out.String(), err
}

func (s *system) command(args []string, env ...string) *exec.Cmd {
	c := exec.Command(s.program, args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), append(env, "TENON_STATE="+s.database, "HOME="+s.dir, "GIT_CEILING_DIRECTORIES="+filepath.Dir(s.dir))...)
	return c
}

// remove ends what a failed test left running.
func (s *system) remove() {
	for pid := range s.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err := removeTree(s.dir); err != nil {
		s.t.Error(err)
	}
}

// removeTree also removes what is read-only.
func removeTree(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}

// processes returns the running units, by the name of their task.
func (s *system) processes() map[int]string {
	found, _ := filepath.Glob("/proc/[0-9]*/environ")
	alive := map[int]string{}
	for _, f := range found {
		b, _ := os.ReadFile(f) // one that has ended has none
		mark := step.Env + "=" + s.dir + "/.tenon/runs/"
		if _, rest, ok := bytes.Cut(b, []byte(mark)); ok {
			task, _, _ := strings.Cut(string(rest), "/")
			var pid int
			if _, err := fmt.Sscanf(f, "/proc/%d/", &pid); err == nil {
				alive[pid] = task
			}
		}
	}
	return alive
}

// revisions returns the number of revisions.
func (s *system) revisions() int { return len(s.history(0)) }

// ended reports whether the last revision has finished.
func (s *system) ended() bool {
	last := s.history(1)
	return len(last) > 0 && last[0].Outcome == state.Done
}

func (s *system) history(most int) []state.Revision {
	ctx := context.Background()
	store, err := state.Open(ctx, cmp.Or(s.database, filepath.Join(s.dir, ".tenon")))
	if err != nil {
		s.t.Error(err)
		return nil
	}
	defer store.Close()
	revisions, err := store.Revisions(ctx, most)
	if err != nil {
		s.t.Error(err)
	}
	return revisions
}

// outcome lists all facts about the system, one per line: what is deployed, where it came
// from, what ran, what runs; and what should not exist.
func (s *system) outcome() string {
	ctx := context.Background()
	facts := map[string]int{}
	fact := func(format string, args ...any) { facts[fmt.Sprintf(format, args...)]++ }
	check := func(err error) {
		if err != nil {
			fact("error: %v", err)
		}
	}
	dir := filepath.Join(s.dir, ".tenon")
	store, err := state.Open(ctx, cmp.Or(s.database, dir))
	if err != nil {
		return err.Error()
	}
	defer store.Close()

	services := map[string]bool{} // the tasks of deployed services
	current, err := store.Current(ctx)
	check(err)
	runs, err := store.CurrentRuns(ctx)
	check(err)
	for unit, c := range current {
		fact("%s is current: %s %s %s", unit, c.Kind, c.Definition, c.Key)
		if c.Kind == ir.Service {
			services[c.Handle.ID] = true
		}
		for port, a := range runs[unit].Outputs {
			fact("%s has on port %s: %s, %d bytes, %d rows", unit, port, a.Digest, a.Size, a.Rows)
		}
		u, err := store.Unit(ctx, unit)
		check(err)
		if u != nil && u.Digest != c.Definition {
			fact("%s is recorded with the definition %s", unit, u.Digest)
		}
	}
	models, err := store.ModelVersions(ctx, "models/m")
	check(err)
	for _, m := range models {
		fact("version %d of the model: %s %v", m.Version, m.Digest, m.Metrics)
	}
	pending, err := store.Pending(ctx)
	check(err)
	for _, p := range pending {
		fact("the journal has attempt %d of %s", p.Run.Attempt, p.Run.Unit)
	}
	last, err := store.Revisions(ctx, 1)
	check(err)
	for _, r := range last {
		fact("the last revision is %s", r.Outcome)
	}
	lease, err := store.Lock(ctx, state.Holder{}, state.LockOptions{})
	if held := (*state.HeldError)(nil); errors.As(err, &held) {
		fact("%v", held)
	} else {
		check(err)
		check(lease.Release(ctx))
	}

	ran, err := os.ReadFile(filepath.Join(s.dir, "ran"))
	check(err)
	for line := range strings.Lines(string(ran)) {
		fact("ran: %s", strings.TrimSpace(line))
	}
	alive := map[string]bool{}
	for _, task := range s.processes() {
		alive[task] = true
	}
	for task := range alive {
		fact("alive: %s", task)
	}
	for task := range services {
		if !alive[task] {
			fact("dead: %s", task)
		}
	}
	s.files(dir, services, fact)

	var lines []string
	for f, n := range facts {
		lines = append(lines, fmt.Sprintf("%s, %d times", f, n))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// files lists what is in the state folder.
func (s *system) files(dir string, services map[string]bool, fact func(string, ...any)) {
	artifacts, err := artifact.Open(filepath.Join(dir, "artifacts"))
	if err != nil {
		fact("error: %v", err)
		return
	}
	// What a run may leave for readers; a deployed service keeps everything it needs.
	kept := []string{"log", "step.json", "notes", "outputs.json"}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		parts := strings.Split(rel, "/")
		switch {
		case len(parts) == 3 && parts[0] == "artifacts":
			if parts[1] == "tmp" {
				fact("left: %s", rel)
			} else if err := artifacts.Check(context.Background(), "sha256:"+parts[1]+parts[2]); err != nil {
				fact("error: %v", err)
			}
			if d.IsDir() {
				return fs.SkipDir
			}
		case len(parts) == 3 && parts[0] == "runs" && !services[parts[1]] && !slices.Contains(kept, parts[2]),
			strings.HasPrefix(d.Name(), ".new-") && parts[0] != "cache", // a cache is swept later
			strings.HasSuffix(d.Name(), ".tmp"):
			fact("left: %s", rel)
		case parts[0] == "rules" && !d.IsDir():
			b, err := os.ReadFile(path)
			fact("rules: %s %s", rel, ir.Sum(b))
			return err
		}
		return nil
	})
	if err != nil {
		fact("error: %v", err)
	}
}

// difference lists the lines that only one of two texts has.
func difference(want, got string) string {
	count := map[string]int{}
	for line := range strings.SplitSeq(want, "\n") {
		count[line]++
	}
	for line := range strings.SplitSeq(got, "\n") {
		count[line]--
	}
	var diff []string
	for _, line := range slices.Sorted(maps.Keys(count)) {
		switch n := count[line]; {
		case n > 0:
			diff = append(diff, "- "+line)
		case n < 0:
			diff = append(diff, "+ "+line)
		}
	}
	return strings.Join(diff, "\n")
}
