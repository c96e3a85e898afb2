package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/executors/records"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// PlanOptions configure a plan.
type PlanOptions struct {
	Rerun []string // units and entities to run even if nothing changed
	Like  []string // folders of systems, or of states, and URLs of states, whose jobs are similar to new ones
	Pull  bool     // ask registries again to resolve image names
	// Infrastructure also compares the resources that the target needs.
	Infrastructure bool
	// Quotas also asks whether the limits of the account allow what the plan runs. An apply asks in any case.
	Quotas bool
}

// planOn compares a system with the state, for its one target.
func (w *Workspace) planOn(ctx context.Context, r *compiler.Result, o PlanOptions) (*planner.Plan, error) {
	in, err := w.inputs(ctx, r.System)
	if err != nil {
		return nil, err
	}
	meta, err := w.store.Meta(ctx)
	if err != nil {
		return nil, err
	}
	if meta.System != r.System.Name {
		deployed, err := w.deployedAnywhere(ctx)
		if err != nil {
			return nil, err
		}
		if deployed {
			return nil, &SettingError{StateSetting, fmt.Errorf("the state in %s belongs to the system %q, but this one is %q", w.store.Where(), meta.System, r.System.Name)}
		}
	}
	if err := w.checkRoots(ctx, r.System); err != nil {
		return nil, err
	}
	if in.Others, err = remembered(ctx, o.Like); err != nil {
		return nil, err
	}
	in.Blobs, in.Known, in.Options.Rerun = r.Blobs, w.known, unitNames(o.Rerun)
	if in.Images, err = w.pin(ctx, r.System, o.Pull); err != nil {
		return nil, err
	}
	if in.Python, err = w.pythons(ctx, r.System, in.Images); err != nil {
		return nil, err
	}
	p, err := planner.Make(ctx, r.System, in)
	if err != nil {
		return nil, err
	}
	p.Protect = r.Protect
	if p.PerRequest, err = w.perRequest(ctx, p); err != nil {
		return nil, err
	}
	if p.Transfer, err = w.transfer(ctx, p); err != nil {
		return nil, err
	}
	if o.Quotas {
		if p.Quotas, err = w.quotas(ctx, p); err != nil {
			return nil, err
		}
	}
	if o.Infrastructure {
		if p.Infrastructure, err = w.planInfrastructure(ctx, r.System); err != nil {
			return nil, err
		}
	}
	p.Taken, err = w.taken(ctx, p)
	return p, err
}

// checkRoots refuses a plan for another region or account than that of the services that run: they would stay there, and
// the plan would call them unchanged.
func (w *Workspace) checkRoots(ctx context.Context, sys *ir.System) error {
	setup, err := w.setup(ctx, sys.Name)
	if err != nil {
		return err
	}
	x, err := all.New(sys.Target, setup)
	if err != nil {
		return err
	}
	rooted, ok := x.(executors.Rooted)
	if !ok {
		return nil
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return err
	}
	for _, unit := range slices.Sorted(maps.Keys(current)) {
		h := current[unit].Handle
		if h == nil || h.Executor != sys.Target.Executor {
			continue
		}
		if there, here := rooted.Root(*h); there != here {
			return fmt.Errorf("%s runs in %s, but the target %s is in %s, and services do not move between the two: run tenon destroy with the former target first", unit, there, sys.Target.Name, here)
		}
	}
	return nil
}

// perRequest lists what services cost that a plan starts and that are paid for by requests.
func (w *Workspace) perRequest(ctx context.Context, p *planner.Plan) (list []planner.PerRequest, err error) {
	setup, err := w.setup(ctx, p.System.Name)
	if err != nil {
		return nil, err
	}
	x, err := all.New(p.System.Target, setup)
	if err != nil {
		return nil, err
	}
	pricer, ok := x.(executors.RequestPricer)
	if !ok {
		return nil, nil
	}
	for _, i := range p.Items {
		if u := p.Unit(&i); u != nil && i.Action.Changes() {
			if price, ok := pricer.PerRequest(*u); ok {
				list = append(list, price)
			}
		}
	}
	return list, nil
}

// taken lists the addresses of services that a plan starts and that something else has.
func (w *Workspace) taken(ctx context.Context, p *planner.Plan) ([]planner.Taken, error) {
	starts := slices.Clone(p.Items)
	starts = slices.DeleteFunc(starts, func(i planner.Item) bool { return i.Kind != ir.Service || !i.Action.Changes() })
	if len(starts) == 0 {
		return nil, nil
	}
	setup, err := w.setup(ctx, p.System.Name)
	if err != nil {
		return nil, err
	}
	x, err := route(p.System.Target, setup, nil)
	if err != nil {
		return nil, err
	}
	host, ok := x.(executors.Host)
	if !ok {
		return nil, nil
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range p.Moves {
		current[m.To] = current[m.From]
	}
	leaving := executors.Leaving(p)
	pending, err := w.store.Pending(ctx)
	if err != nil {
		return nil, err
	}
	for _, left := range pending { // by a killed apply: the next one ends or adopts it
		leaving = append(leaving, left.Run.Unit)
	}
	vacating, err := executors.Vacating(p, func(unit string) (*ir.Unit, error) {
		u, err := w.store.Unit(ctx, unit)
		if errors.Is(err, state.ErrNotFound) {
			return nil, nil
		}
		return u, err
	})
	if err != nil {
		return nil, err
	}
	var all []planner.Taken
	for _, i := range starts {
		u := p.Unit(&i)
		if u == nil || u.Endpoint == nil {
			continue
		}
		t := executors.Task{Unit: *u, Dir: filepath.Join(w.dir, "runs", "plan"), Leaving: slices.Concat(leaving, vacating[u.ID]), State: p.State.Lineage, Environment: w.set.Env}
		by, err := host.Taken(ctx, t, current[u.ID].Handle)
		if err != nil {
			return nil, fmt.Errorf("the address of %s: %w", u.ID, err)
		}
		if by != "" {
			all = append(all, planner.Taken{Unit: u.ID, Address: u.Endpoint.Address(), By: by, Optional: i.Unless})
		}
	}
	return all, nil
}

// inputs returns what a plan for a system is made from.
func (w *Workspace) inputs(ctx context.Context, sys *ir.System) (planner.Inputs, error) {
	s, err := w.setup(ctx, sys.Name)
	if err != nil {
		return planner.Inputs{}, err
	}
	x, err := route(sys.Target, s, nil)
	if err != nil {
		return planner.Inputs{}, err
	}
	abs, err := filepath.Abs(w.set.Dir)
	if err != nil {
		return planner.Inputs{}, fmt.Errorf("find the system: %w", err)
	}
	if err := w.artifacts.Look(ctx); err != nil {
		return planner.Inputs{}, err
	}
	if err := w.bring(ctx); err != nil {
		return planner.Inputs{}, err
	}
	own, err := all.New(sys.Target, s)
	if err != nil {
		return planner.Inputs{}, err
	}
	_, schedules := own.(executors.Scheduler)
	_, share := own.(executors.SharedReplicas)
	digests := planner.NewFileDigests(w.dir)
	digests.OnDrop = w.set.warn
	var placed func(*ir.Unit, state.Handle) (string, string)
	if p, ok := own.(executors.Placer); ok {
		placed = p.Placed
	}
	perHour, perHourNow := w.hourly(own, x)
	return planner.Inputs{
		PerReplica: schedules && !share, Similar: true, Placed: placed, PerHour: perHour, PerHourNow: perHourNow,
		Dir: abs, State: w.store, Artifacts: w.artifacts, Digests: digests, Inspector: x, Preparer: preparer(x), Written: w.records(nil).Lost,
	}, nil
}

// CheckData returns an error unless the data files are those that a saved plan was
// made from.
func (w *Workspace) CheckData(ctx context.Context, p *planner.Plan) error {
	return p.CheckData(ctx, planner.NewFileDigests(w.dir))
}

// preparer returns the executor, if it prepares anything, or nil.
func preparer(x executors.Executor) planner.Preparer {
	p, _ := x.(planner.Preparer)
	return p
}

// bring updates this machine's files of records from a shared state, unless another
// process is changing them, for any environment.
func (w *Workspace) bring(ctx context.Context) error {
	if !w.store.Shared() {
		return nil
	}
	envs, err := w.store.Environments(ctx)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	for _, env := range envs {
		held, err := w.store.In(env).Holder(ctx)
		if err != nil {
			return err
		}
		if held != nil && (held.Holder.PID != os.Getpid() || held.Holder.Host != host) {
			return nil
		}
	}
	return w.records(nil).Sync(ctx, w.store)
}

// records returns the recorders. The registry may be nil to only check records.
func (w *Workspace) records(r records.Registry) executors.Records {
	return records.New(w.dir, w.artifacts, r)
}

// pin resolves the images that a system names to digests, and those on which its target makes
// images. It is nil if there are none. With again, it also asks registries for names that were
// resolved before.
func (p *Project) pin(ctx context.Context, sys *ir.System, again bool) (map[string]string, error) {
	if !sys.RunsImages() {
		return nil, nil
	}
	store, pinned := p.imagesOf(sys.Target), map[string]string{}
	for _, u := range sys.Units {
		ref := cmp.Or(u.Code.Image, sys.Target.Base())
		if ref == "" || pinned[ref] != "" || u.Kind == ir.Record {
			continue
		}
		var err error
		if pinned[ref], err = store.Pin(ctx, ref, again); err != nil {
			return nil, fmt.Errorf("the image of %s: %w", u.ID, err)
		}
	}
	return pinned, nil
}

// pythons returns the exact versions of the interpreters with which the jobs of a system
// run, by the versions that they name: those in the base image of the target, or else those
// of this machine. What is not known is missing. It is nil if no job runs Python.
func (w *Workspace) pythons(ctx context.Context, sys *ir.System, images map[string]string) (map[string]string, error) {
	var found map[string]string
	for _, u := range sys.Units {
		v := u.Code.Python
		if _, seen := found[v]; seen || v == "" || u.Kind != ir.Job || u.Code.Image != "" {
			continue
		}
		exact, err := w.python(ctx, sys.Target, v, images)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil { // the unit's preparation reports it
			exact = ""
		}
		if found == nil {
			found = map[string]string{}
		}
		found[v] = exact
	}
	maps.DeleteFunc(found, func(_, exact string) bool { return exact == "" })
	return found, nil
}

func (w *Workspace) python(ctx context.Context, t ir.Target, version string, images map[string]string) (string, error) {
	if t.Base() != "" {
		return w.imagesOf(t).Python(ctx, images[t.Base()], version)
	}
	x, err := route(t, w.setupApart(), nil)
	if err != nil {
		return "", err
	}
	if p, ok := x.(executors.Interpreter); ok {
		return p.Python(ctx, version, false)
	}
	return "", nil
}

// setup returns the setup of executors, with the state if the system is known.
func (w *Workspace) setup(ctx context.Context, system string) (all.Setup, error) {
	s := w.setupApart()
	meta, err := w.store.Meta(ctx)
	s.System, s.Env, s.State, s.Shared = system, w.set.Env, meta.Lineage, w.store.Shared()
	return s, err
}

// setupApart returns the setup of executors that only inspect what handles name.
func (w *Workspace) setupApart() all.Setup {
	return all.Setup{
		Config: w.set.Config, Images: w.images, Runs: filepath.Join(w.dir, "runs"), Python: &environments{make: w.environments},
		Packed: w.set.Packed, Warn: w.set.warn,
	}
}

// environments locates uv only when an environment is requested: few units need one.
type environments struct {
	make func() *pyenv.Env
	once sync.Once
	env  *pyenv.Env
}

func (e *environments) made() *pyenv.Env {
	e.once.Do(func() { e.env = e.make() })
	return e.env
}

func (e *environments) Ensure(ctx context.Context, lock []byte, report func(pyenv.Progress)) (string, error) {
	return e.made().Ensure(ctx, lock, report)
}

func (e *environments) Version(ctx context.Context, install bool) (string, error) {
	return e.made().Version(ctx, install)
}

func (e *environments) Portable(ctx context.Context, lock []byte, report func(pyenv.Progress)) (*pyenv.Portable, error) {
	return e.made().Portable(ctx, lock, report)
}

func (e *environments) Missing(lock []byte) *pyenv.Missing { return e.made().Missing(lock) }

// route returns an executor that starts what the target runs, and finds what other
// executors started. wrap, which may be nil, wraps each executor.
func route(t ir.Target, s all.Setup, wrap func(executors.Executor) executors.Executor) (executors.Executor, error) {
	var mu sync.Mutex
	made := map[string]executors.Executor{}
	return executors.Route(t.Executor, all.Names(), func(name string) (executors.Executor, error) {
		mu.Lock()
		defer mu.Unlock()
		if x := made[name]; x != nil {
			return x, nil
		}
		of := t
		if name != t.Executor {
			of = ir.Target{Executor: name}
		}
		x, err := all.New(of, s)
		if err != nil {
			return nil, err
		}
		if wrap != nil {
			x = wrap(x)
		}
		made[name] = x
		return x, nil
	})
}

// anyTarget is for calls that start nothing: handles determine the executor.
var anyTarget = ir.Target{Executor: all.Default}

// unitNames allows a dot in place of the first slash, as in the language.
func unitNames(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = unitName(n)
	}
	return out
}

// unitName returns the name of a unit, which may be written with a dot, as in the
// language.
func unitName(n string) string {
	if strings.Contains(n, "/") {
		return n
	}
	return strings.Replace(n, ".", "/", 1)
}
