package executors_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/records"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A world is a folder, a state, a liar, and those who apply systems there.
type world struct {
	dir      string // of the system
	liar     *liar
	store    *state.Store
	arts     *artifact.Store
	lease    *state.Lease
	sketches []*sketch
	now      time.Time // of the last applied plan: what follows is never too old
	data     int
	damaged  map[string]bool // artifacts that were changed unnoticed
	wg       sync.WaitGroup  // of killed applies

	fuse atomic.Int64 // number of writes and calls until it fires
	blow atomic.Pointer[func()]
}

func newWorld(ctx context.Context, dir string, sketches []*sketch) *world {
	w := &world{dir: dir, liar: newLiar(dir), sketches: slices.Clone(sketches), damaged: map[string]bool{}}
	w.liar.current = func(unit string) string {
		current, err := w.store.Current(context.Background())
		must(err)
		if h := current[unit].Handle; h != nil {
			return h.ID
		}
		return ""
	}
	must(os.MkdirAll(filepath.Join(dir, "data"), 0o755))
	w.change("a")
	w.change("b")
	w.open(ctx)
	return w
}

func play(ctx context.Context, dir string, sketches []*sketch, rounds []round) error {
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
	if err := w.converge(ctx); err != nil {
		return fmt.Errorf("in the end: %w", err)
	}
	return nil
}

// open opens the state, like a new process. The previous holder is gone.
func (w *world) open(ctx context.Context) {
	var err error
	w.store, err = state.Open(ctx, w.stateDir())
	must(err)
	w.store.OnWrite = func(_ string, ended bool) {
		if !ended {
			w.pass()
		}
	}
	w.arts, err = artifact.Open(filepath.Join(w.stateDir(), "artifacts"))
	must(err)
	w.exec("DELETE FROM lease")
	w.lease, err = w.store.Lock(ctx, state.Holder{}, state.LockOptions{TTL: 1000 * time.Hour})
	must(err)
}

func (w *world) stateDir() string { return filepath.Join(w.dir, ".tenon") }

func (w *world) exec(statement string) {
	must(execOn(filepath.Join(w.stateDir(), "state.db"), statement))
}

func (w *world) close() {
	close(w.liar.end)
	w.wg.Wait()
	w.liar.stop()
	_ = w.lease.Release(context.Background())
	_ = w.store.Close()
}

// pass is called on every write to the state and every call to the executor.
func (w *world) pass() {
	if w.fuse.Add(-1) == 0 {
		(*w.blow.Load())()
	}
}

func (w *world) change(name string) {
	w.data++
	must(os.WriteFile(filepath.Join(w.dir, "data", name+".csv"), fmt.Append(nil, "version ", w.data), 0o644))
}

func (w *world) edit(ctx context.Context, e edit) {
	i := e.n % len(w.sketches)
	now := w.sketches[i]
	switch e.what {
	case "declare":
		w.sketches[i] = e.to
	case "remove":
		w.sketches[i] = nil
	case "set the parameter of", "rename", "rewire":
		if now == nil {
			return
		}
		s := *now
		switch e.what {
		case "rename":
			s.name++
		case "rewire":
			s.from = e.to.from
		default:
			s.param = e.to.param
		}
		w.sketches[i] = &s
	case "change data":
		w.change([]string{"a", "b", "c"}[e.n%3])
	case "lose artifact", "damage artifact":
		runs, err := w.store.CurrentRuns(ctx)
		must(err)
		digests := map[string]bool{}
		for _, r := range runs {
			for _, a := range r.Outputs {
				digests[a.Digest] = true
			}
		}
		if len(digests) == 0 {
			return
		}
		digest := slices.Sorted(maps.Keys(digests))[e.n%len(digests)]
		if !w.arts.Has(digest) {
			return
		}
		if e.what == "lose artifact" {
			removeTree(w.arts.Path(digest))
			return
		}
		w.damaged[digest] = true
		must(filepath.WalkDir(w.arts.Path(digest), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				return errors.Join(os.Chmod(p, 0o644), os.WriteFile(p, []byte("damaged"), 0o644))
			}
			return err
		}))
	case "kill service":
		if alive := w.liar.alive(); len(alive) > 0 {
			w.liar.mu.Lock()
			defer w.liar.mu.Unlock()
			w.liar.die(w.liar.tasks[alive[e.n%len(alive)]])
		}
	case "delete rules":
		if files, _ := filepath.Glob(filepath.Join(w.stateDir(), "rules", "*")); len(files) > 0 {
			must(os.Remove(files[e.n%len(files)]))
		}
	case "reboot":
		w.liar.reboot()
	case "collect":
		c, err := executors.Collect(ctx, w.options(w.liar), executors.Retention{Revisions: 1 + e.n%3, Models: e.n % 4})
		must(err)
		executors.StopAfter(c, 4*e.n)
		if err := c.Remove(ctx); !errors.Is(err, executors.ErrStopped) {
			must(err)
		}
	case "wait":
		time.Sleep(time.Duration(e.n) * 20 * time.Minute)
	}
}

// plan plans what is declared. The executor may lie to it.
func (w *world) plan(ctx context.Context, rerun ...string) (*planner.Plan, error) {
	sys := &ir.System{Version: ir.Version, Name: "demo", Target: ir.Target{Name: "local", Executor: "liar"}, Units: units(w.sketches)}
	for i := range sys.Units {
		must(sys.Units[i].Define())
	}
	return planner.Make(ctx, sys, planner.Inputs{
		Dir: w.dir, State: w.store, Artifacts: w.arts, Digests: planner.NewFileDigests(w.stateDir()), Inspector: w.liar,
		Options: planner.Options{Rerun: rerun, Now: w.now},
	})
}

func (w *world) options(e executors.Executor) executors.Options {
	return executors.Options{
		Store: w.store, Lease: w.lease, Artifacts: w.arts, Executor: e, Dir: w.stateDir(),
		Records: records.New(w.stateDir(), w.arts, w.lease),
		Machine: ir.Resources{MilliCPU: 2000}, Verify: verifyFooter(w.liar.verified),
		Devices: func(context.Context, []ir.Pool) (map[string][]executors.GPU, error) {
			gpus := make([]executors.GPU, len(w.sketches)+2) // one for each service, and two for a job
			for i := range gpus {
				gpus[i].Name = fmt.Sprint("gpu=", i)
			}
			return map[string][]executors.GPU{executors.MachinePool: gpus}, nil
		},
	}
}

const (
	patience = 10 * time.Minute // until somebody presses Ctrl-C
	stuck    = 2 * time.Hour
)

func (w *world) round(ctx context.Context, r round) error {
	declared := units(w.sketches)
	w.liar.changed, w.liar.troubles, w.liar.declared = false, map[string][]string{}, map[string]bool{}
	for _, u := range declared {
		w.liar.declared[u.ID] = true
	}
	for _, t := range r.troubles {
		if len(declared) > 0 {
			id := declared[t.unit%len(declared)].ID
			for range t.times {
				w.liar.troubles[id] = append(w.liar.troubles[id], t.what)
			}
		}
	}
	var rerun []string
	if r.rerun >= 0 && len(declared) > 0 {
		rerun = []string{declared[r.rerun%len(declared)].ID}
	}
	w.now = time.Now()
	p, err := w.plan(ctx, rerun...)
	if errors.Is(err, errLiar) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if r.between {
		w.change("a")
	}

	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if r.end == "canceled" {
		time.AfterFunc(time.Duration(r.after)*time.Second/4, cancel)
	}
	s := &session{liar: w.liar, pass: w.pass, cut: make(chan struct{})}
	died := make(chan struct{})
	w.fuse.Store(-1)
	if r.end == "killed" || r.end == "fenced" {
		blow := func() {
			w.exec("UPDATE lease SET token = token + 1")
			if r.end == "killed" {
				close(s.cut)
			}
			close(died)
		}
		w.blow.Store(&blow)
		w.fuse.Store(int64(r.after) + 1)
	}
	o := w.options(s)
	if r.polls {
		o.Executor = struct{ executors.Executor }{s}
	}
	o.Parallel = r.parallel

	done := make(chan error, 1)
	w.wg.Go(func() {
		_, err := executors.Apply(ctx, p, o)
		done <- err
	})
	timeout := time.NewTimer(stuck)
	defer timeout.Stop()
	select {
	case err = <-done:
	case <-s.cut:
		synctest.Wait() // until all of it has stopped
		err = errors.New("killed")
	case <-timeout.C:
		return fmt.Errorf("the apply does not end, %s after it was canceled", stuck-patience)
	}
	w.fuse.Store(-1)
	if broken := w.liar.broken; len(broken) > 0 {
		return errors.New(strings.Join(broken, "\n"))
	}
	select {
	case <-died:
		_ = w.lease.Release(context.Background()) // it no longer holds it
		_ = w.store.Close()
		w.open(context.WithoutCancel(ctx))
	default:
	}
	if err == nil && !w.liar.changed && !r.between {
		clear(w.liar.troubles)
		if err := w.check(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("the apply says that all is well: %w", err)
		}
	}
	return nil
}

// converge applies until it succeeds. What earlier rounds left may fail an apply, but not
// repeatedly.
func (w *world) converge(ctx context.Context) error {
	w.liar.behave()
	var err error
	for range 8 {
		if err = w.apply(ctx); err == nil {
			break
		}
		var damaged *artifact.DamagedError
		if errors.As(err, &damaged) {
			removeTree(damaged.Path) // as the error says
		}
	}
	if err != nil {
		return fmt.Errorf("apply again and again: %w", err)
	}
	return w.check(ctx)
}

func (w *world) apply(ctx context.Context) error {
	w.now = time.Now()
	p, err := w.plan(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = executors.Apply(ctx, p, w.options(w.liar))
	return err
}

// check checks that exactly what is declared is deployed.
func (w *world) check(ctx context.Context) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	current, err := w.store.Current(ctx)
	must(err)
	declared := units(w.sketches)
	outputs := map[string]map[string]artifact.Artifact{}
	services := []string{}
	rules := map[string]string{}
	for id := range current {
		if !slices.ContainsFunc(declared, func(u ir.Unit) bool { return u.ID == id }) {
			fault("%s is deployed and not declared", id)
		}
	}
	for _, u := range inOrder(declared) {
		must(u.Define())
		c, ok := current[u.ID]
		if !ok || c.Definition != u.Digest || c.Kind != u.Kind {
			fault("%s is not deployed as declared: %+v", u.ID, c)
			continue
		}
		run, err := w.store.RunFor(ctx, u.ID, c.Key)
		if err != nil {
			fault("the run of %s: %w", u.ID, err)
			continue
		}
		outputs[u.ID] = run.Outputs
		if err := w.checkRun(ctx, &u, run, outputs, current); err != nil {
			fault("%s: %w", u.ID, err)
		}
		if u.Kind == ir.Service {
			if c.Handle == nil {
				fault("%s has no handle", u.ID)
				continue
			}
			services = append(services, c.Handle.ID)
			if x := w.liar.tasks[c.Handle.ID]; x != nil && (x.Key != c.Key || x.phase != state.Ready) {
				fault("%s is %s and runs %s, recorded is %s", u.ID, x.phase, x.Key, c.Key)
			}
		}
		if u.Component == "slo.rules" {
			var n, i, f, g int
			if _, err := fmt.Sscanf(string(u.Params), `{"content":"rules %d of %d","file":"%d_%d.yml"}`, &n, &i, &f, &g); err != nil {
				fault("%s: %w", u.Params, err)
			}
			rules[fmt.Sprintf("%d_%d.yml", f, g)] = fmt.Sprintf("rules %d of %d", n, i)
		}
	}
	slices.Sort(services)
	if alive := w.liar.alive(); !slices.Equal(alive, services) {
		fault("alive are %q, recorded are the services %q", alive, services)
	}
	if pending, err := w.store.Pending(ctx); err != nil || len(pending) > 0 {
		fault("the journal holds %+v, %v", pending, err)
	}
	files, _ := filepath.Glob(filepath.Join(w.stateDir(), "rules", "*"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(err)
		if want, ok := rules[filepath.Base(f)]; !ok || want != string(b) {
			fault("rules in %s: %q, want %q", filepath.Base(f), b, want)
		}
		delete(rules, filepath.Base(f))
	}
	if len(rules) > 0 {
		fault("rules are missing: %v", rules)
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	p, err := w.plan(ctx)
	if err != nil {
		return err
	}
	for _, it := range p.Items {
		if it.Action.Changes() {
			fault("the plan after it is to %s %s, because %+v", it.Action, it.Unit, it.Reasons)
		}
	}
	before := w.liar.started
	if res, err := executors.Apply(ctx, p, w.options(w.liar)); err != nil || res.Counts.Reused+res.Counts.Unchanged != len(declared) {
		fault("to apply the plan after it: %+v, %v", res, err)
	}
	if w.liar.started > before {
		fault("to apply the plan after it starts something")
	}
	for _, b := range w.liar.broken {
		fault("%s", b)
	}
	return errors.Join(faults...)
}

// checkRun checks that the current run of a unit read the current results of its
// producers, and made from them what its definition says.
func (w *world) checkRun(ctx context.Context, u *ir.Unit, run *state.Run, outputs map[string]map[string]artifact.Artifact, current map[string]state.Current) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	inputs := map[string]string{}
	for _, in := range u.Inputs {
		digest := outputs[in.Unit][in.From].Digest
		if in.Kind == ir.EndpointOf {
			digest = planner.EndpointDigest(current[in.Unit].Key)
		}
		if in.Incumbent {
			digest = run.Inputs[in.Port]
		}
		inputs[in.Port] = digest
	}
	files := map[string]string{}
	found, err := planner.Files(w.dir, u.Files)
	must(err)
	for _, paths := range found {
		for _, p := range paths {
			b, err := os.ReadFile(filepath.Join(w.dir, p))
			must(err)
			files[p] = string(b)
			inputs["file:"+p] = ir.Sum(b)
		}
	}
	if !maps.Equal(inputs, run.Inputs) {
		fault("it has read %v, there is %v", run.Inputs, inputs)
	}
	if key := ir.RunKey(u.Digest, inputs); run.Key != key {
		fault("its key is %s, want %s", run.Key, key)
	}
	for port, a := range run.Outputs {
		if err := w.arts.Check(ctx, a.Digest); err != nil && !w.damaged[a.Digest] {
			fault("output %s: %w", port, err)
		}
	}
	switch {
	case u.Component == "registry.model":
		if got := run.Outputs["model"].Digest; got != inputs["model"] {
			fault("registered is %s, want %s", got, inputs["model"])
		}
		models, err := w.store.Models(ctx)
		at := slices.IndexFunc(models, func(v state.ModelVersion) bool { return v.Model == u.Entity })
		if err != nil || at < 0 || models[at].Digest != inputs["model"] {
			fault("in service are %+v, %v", models, err)
			break
		}
		var m float64
		b, err := os.ReadFile(filepath.Join(w.arts.Path(inputs["report"]), "report.json"))
		if _, scanErr := fmt.Sscanf(string(b), `{"metrics":{"m":%g}}`, &m); !w.damaged[inputs["report"]] && (errors.Join(err, scanErr) != nil || models[at].Metrics["m"] != m) {
			fault("registered are the metrics %v, the report is %s", models[at].Metrics, b)
		}
	case u.Kind == ir.Job && u.Component != "random":
		for port, want := range produce(u, inputs, files, "") {
			if got := run.Outputs[port].Digest; got != digestOf(want) {
				fault("output %s is not what a clean run makes", port)
			}
		}
	}
	return errors.Join(faults...)
}

// digestOf returns the digest of an output.
func digestOf(files map[string]string) string {
	dir, err := os.MkdirTemp("", "")
	must(err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "out")
	must(writePort(path, files))
	digest, err := artifact.Digest(context.Background(), path)
	must(err)
	return digest
}

// inOrder puts units after those they read from.
func inOrder(units []ir.Unit) []ir.Unit {
	var out []ir.Unit
	seen := map[string]bool{}
	var visit func(u ir.Unit)
	visit = func(u ir.Unit) {
		if seen[u.ID] {
			return
		}
		seen[u.ID] = true
		for _, in := range u.Inputs {
			if i := slices.IndexFunc(units, func(o ir.Unit) bool { return o.ID == in.Unit }); i >= 0 && !in.Incumbent {
				visit(units[i])
			}
		}
		out = append(out, u)
	}
	for _, u := range units {
		visit(u)
	}
	return out
}
