package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/gpu"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// ApplyOptions configure an apply.
type ApplyOptions struct {
	Parallel int                   // how many units may run at once; 0 means that only the pools limit them
	Events   func(executors.Event) // receives the events, one at a time; may be nil
	Cause    *planner.Cause        // of a revision that a controller begins for a release
	// Removal is what a destroy does to the infrastructure, or nil if that stays.
	Removal *InfrastructureRemoval
}

// Work is what an apply of a plan has to do.
type Work struct {
	Planned    bool // the plan changes or audits something
	Unfinished bool // a killed apply left something to end
}

// None reports whether there is nothing to do.
func (w Work) None() bool { return !w.Planned && !w.Unfinished }

// Work returns what an apply of a plan has to do.
func (s *Session) Work(ctx context.Context, p *planner.Plan) (w Work, err error) {
	w.Planned = p.Changes() || slices.ContainsFunc(p.Items, func(i planner.Item) bool { return i.Audit })
	w.Unfinished, err = executors.Unfinished(ctx, s.store)
	return w, err
}

// CheckSecrets resolves the secrets of everything that a plan runs, before any of it
// does.
func (p *Project) CheckSecrets(plan *planner.Plan) error {
	var errs []error
	for _, i := range plan.Items {
		if !i.Action.Changes() && !i.Audit {
			continue
		}
		u := plan.Unit(&i)
		if u == nil {
			continue
		}
		for _, s := range u.Secrets {
			if s.Kubernetes != nil {
				continue // the cluster reports a missing one
			}
			if _, err := p.secret(s); err != nil {
				errs = append(errs, fmt.Errorf("%s: secret %s: %w", u.ID, s.Name, err))
			}
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("nothing was applied: secrets are missing:\n%w", errors.Join(errs...))
	}
	return nil
}

// CheckPreparations returns an error, before anything runs, if a plan certainly needs
// something that does not exist and cannot be made on this machine.
func (w *Workspace) CheckPreparations(ctx context.Context, p *planner.Plan) error {
	setup, err := w.setup(ctx, p.System.Name)
	if err != nil {
		return err
	}
	x, err := route(p.System.Target, setup, nil)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range planner.Missing(p, preparer(x)) {
		if m.Problem != "" && !m.Optional {
			errs = append(errs, fmt.Errorf("cannot prepare %s: %s\n  needed by %s", m.What, m.Problem, strings.Join(m.Units, ", ")))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("nothing was applied:\n%w", errors.Join(errs...))
	}
	return nil
}

// CheckAddresses returns an error, before anything runs, if something else has an address
// at which a plan certainly starts a service.
func (w *Workspace) CheckAddresses(ctx context.Context, p *planner.Plan) error {
	taken, err := w.taken(ctx, p)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range taken {
		if !t.Optional {
			errs = append(errs, errors.New(t.String()))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("nothing was done:\n%w", errors.Join(errs...))
	}
	return nil
}

// Apply executes a plan. The result and the error are those of [executors.Apply].
func (s *Session) Apply(ctx context.Context, p *planner.Plan, o ApplyOptions) (*executors.Result, error) {
	permitted, err := s.permit(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := s.artifacts.Look(ctx); err != nil {
		return nil, err
	}
	if err := s.endDetached(ctx); err != nil {
		return nil, err
	}
	setup, err := s.setup(ctx, p.System.Name)
	if err != nil {
		return nil, err
	}
	opts, err := s.options(p.System.Target, setup, o)
	if err != nil {
		return nil, err
	}
	opts.Protection = permitted
	if opts.Provision, opts.Retire, err = s.provision(ctx, p); err != nil {
		return nil, err
	}
	if p.Cause == nil { // a controller does not use the sources in the folder
		opts.Commit = s.gitCommit(p.Dir)
	}
	tracker, err := s.track(ctx, p.System, opts.Commit)
	if err != nil {
		return nil, err
	}
	defer tracker.close(ctx)
	if tracker != nil {
		opts.Tracker = tracker
	}
	return executors.Apply(ctx, p, opts)
}

// Deployed returns the deployed units, sorted.
func (w *Workspace) Deployed(ctx context.Context) ([]string, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	var units []string
	for u := range current {
		units = append(units, u)
	}
	order, err := w.order(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(units, order)
	return units, nil
}

// Destroy ends every service, removes rule files and forgets what is deployed. If there
// was nothing to do, the result has no revision.
func (s *Session) Destroy(ctx context.Context, o ApplyOptions) (*executors.Result, error) {
	permitted, err := s.permit(ctx, nil)
	if err != nil {
		return nil, err
	}
	opts, err := s.options(anyTarget, s.setupApart(), o)
	if err != nil {
		return nil, err
	}
	opts.Protection, opts.Deprovision = permitted, s.deprovision(o.Removal)
	if err := s.endDetached(ctx); err != nil {
		return nil, err
	}
	result, err := executors.Destroy(ctx, opts)
	if err == nil {
		err = s.endController(ctx)
	}
	return result, err
}

// options returns the options of an apply.
func (s *Session) options(t ir.Target, setup all.Setup, o ApplyOptions) (executors.Options, error) {
	x, err := all.New(t, setup)
	if err != nil {
		return executors.Options{}, err
	}
	to, err := route(t, setup, s.set.Faults.Executor)
	if err != nil {
		return executors.Options{}, err
	}
	opts := executors.Options{
		Store: s.store, Lease: s.lease, Artifacts: s.artifacts, Executor: to, Dir: s.dir,
		Records: s.records(s.lease), Verify: s.verify, Secrets: s.secret, Events: o.Events, Machine: machine(), Parallel: o.Parallel,
		Tags: s.set.Tags, Backoff: s.set.Faults.Backoff, Devices: s.lentGPUs,
	}
	if q, ok := x.(executors.Scheduler); ok {
		opts.Unbounded, opts.Devices, opts.Ready = true, nil, q.ReadyWithin
	}
	return opts, nil
}

// gpus returns the GPUs of this machine.
func (p *Project) gpus(ctx context.Context) ([]executors.GPU, error) {
	return gpu.Discover(ctx, gpu.Options{CDIDirs: p.set.CDI})
}

// lentGPUs returns the GPUs of this machine, by the pool that lends them.
func (p *Project) lentGPUs(ctx context.Context, pools []ir.Pool) (map[string][]executors.GPU, error) {
	found, err := p.gpus(ctx)
	if err != nil {
		return nil, err
	}
	return gpu.Match(pools, found)
}

func (p *Project) verify(ctx context.Context, path string, schema ir.Schema, keys []string, refs []executors.Referred) ([]executors.Violation, int64, error) {
	tables := make([]duck.Reference, len(refs))
	for i, r := range refs {
		tables[i] = duck.Reference{Columns: r.Columns, Keys: r.Keys, Path: r.Path, Table: r.Table}
	}
	found, rows, err := p.set.SQL.Verify(ctx, path, schema, keys, tables)
	out := make([]executors.Violation, len(found))
	for i, v := range found {
		out[i] = executors.Violation{Column: v.Column, Rule: v.Rule, Count: v.Count, Examples: v.Examples, Message: v.String()}
	}
	return out, rows, err
}

// secret reads a secret from where it is kept.
func (p *Project) secret(s ir.Secret) (string, error) {
	if s.Env != "" {
		v, ok := p.set.lookup(s.Env)
		if !ok {
			return "", fmt.Errorf("$%s is not set in the environment of tenon", s.Env)
		}
		return v, nil
	}
	b, err := os.ReadFile(s.File)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// machine returns what units without a pool share.
func machine() ir.Resources {
	r := ir.Resources{MilliCPU: int64(runtime.NumCPU()) * 1000}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kib); err == nil {
			r.Memory = kib << 10
		}
	}
	return r
}
