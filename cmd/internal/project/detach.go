package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A detachedApply is what a detached apply receives: everything that this machine has and
// the cluster lacks. It is a blob of the store.
type detachedApply struct {
	Plan     *planner.Plan `json:"plan"`
	Revision int           `json:"revision"`
	executors.Packed
	Files    map[string]artifact.Ref `json:"files"` // data files, by path as in [planner.Files]
	Parallel int                     `json:"parallel,omitempty"`
}

// Detached describes a detached apply that was started.
type Detached struct {
	Revision  int    `json:"revision"`
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
}

// DetachOptions configure a detached apply.
type DetachOptions struct {
	Parallel int // how many units may run at once; 0 means that only the pools limit them
	// Args returns the arguments with which tenon calls [OpenDetached] in the cluster,
	// given the URL of the artifact store and the digest of the request.
	Args func(artifacts, request string) []string
}

// Detach starts a detached apply of a plan. It returns once the cluster has everything
// that the apply needs.
func (s *Session) Detach(ctx context.Context, p *planner.Plan, o DetachOptions) (*Detached, error) {
	permitted, err := s.permit(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := s.artifacts.Look(ctx); err != nil {
		return nil, err
	}
	setup, err := s.setup(ctx, p.System.Name)
	if err != nil {
		return nil, err
	}
	x, err := detacher(p.System.Target, setup)
	if err != nil {
		return nil, err
	}
	s.set.notify(Notice{Text: "sending images, data and the plan to the cluster ..."})
	d := detachedApply{Plan: p, Parallel: o.Parallel}
	group, inGroup := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		d.Packed, err = x.Pack(inGroup, p)
		return err
	})
	group.Go(func() (err error) {
		d.Files, err = s.send(inGroup, p.Dir, running(p))
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := s.endDetached(ctx); err != nil {
		return nil, err
	}
	opts, err := s.options(p.System.Target, setup, ApplyOptions{})
	if err != nil {
		return nil, err
	}
	opts.Commit, opts.Protection = s.gitCommit(p.Dir), permitted
	if d.Revision, err = executors.Begin(ctx, p, opts); err != nil {
		return nil, err
	}
	job := x.Detached(p.State.Lineage, d.Revision)
	base := d.Plan.Images[d.Plan.System.Target.Base()]
	if err := s.start(ctx, job, executors.Launch{Base: base}, d, o.Args); err != nil {
		return nil, errors.Join(err, s.lease.EndRevision(context.WithoutCancel(ctx), d.Revision, state.Failure, ""))
	}
	return &Detached{d.Revision, job.Job().Namespace, job.Job().Name}, nil
}

// start stores what a detached program needs, and starts it, with args.
func (w *Workspace) start(ctx context.Context, program executors.DetachedProgram, l executors.Launch, sent any, args func(artifacts, request string) []string) error {
	text, err := json.Marshal(sent)
	if err != nil {
		return fmt.Errorf("send the plan: %w", err)
	}
	store, err := w.shared.store(ctx)
	if err != nil {
		return err
	}
	ref, err := store.PutBytes(ctx, text)
	if err != nil {
		return fmt.Errorf("send the plan: %w", err)
	}
	l.Args = args(w.shared.url, ref.Digest)
	return program.Start(ctx, l)
}

// running returns the units of a plan that may run.
func running(p *planner.Plan) (all []*ir.Unit) {
	for _, i := range p.Items {
		if u := p.System.Unit(i.Unit); u != nil && i.Action.Changes() {
			all = append(all, u)
		}
	}
	return all
}

// send copies the data files of units, in a folder, to the artifact store.
func (w *Workspace) send(ctx context.Context, dir string, units []*ir.Unit) (map[string]artifact.Ref, error) {
	store, err := w.shared.store(ctx)
	if err != nil {
		return nil, err
	}
	sent := map[string]artifact.Ref{}
	for _, u := range units {
		if len(u.Files) == 0 {
			continue
		}
		found, err := planner.Files(dir, u.Files)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.ID, err)
		}
		for _, files := range found {
			for _, f := range files {
				if _, ok := sent[f]; ok {
					continue
				}
				real, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(f)))
				if err == nil {
					sent[f], err = store.Put(ctx, real)
				}
				if err != nil {
					return nil, fmt.Errorf("send %s: %w", f, err)
				}
			}
		}
	}
	return sent, nil
}

// detacher returns the executor of a target that supports detached applies.
func detacher(t ir.Target, s all.Setup) (executors.Detacher, error) {
	x, err := all.New(t, s)
	if err != nil {
		return nil, err
	}
	d, ok := x.(executors.Detacher)
	if !ok {
		return nil, noDetach(t)
	}
	return d, nil
}

// noDetach says that applies do not run on the platform of a target.
func noDetach(t ir.Target) error {
	return &RequestError{fmt.Errorf("a detached apply runs in a cluster, but target %s uses the executor %s: choose a tenon.#Kubernetes target", t.Name, t.Executor)}
}

// CheckDetach returns everything that prevents a detached apply of a plan.
func (s *Session) CheckDetach(ctx context.Context, p *planner.Plan) error {
	if x, err := detacher(p.System.Target, s.setupApart()); err != nil {
		return err
	} else if x.Detached(p.State.Lineage, 0) == nil && x.KeepsSecrets() {
		return noDetach(p.System.Target)
	}
	return s.checkDetach(ctx, p.System, "the plan cannot be applied")
}

// checkDetach returns everything that prevents tenon from running a system in a cluster. what cannot
// be done then is for the error.
func (w *Workspace) checkDetach(ctx context.Context, sys *ir.System, what string) error {
	setup := w.setupApart()
	setup.System = sys.Name
	x, err := detacher(sys.Target, setup)
	if err != nil {
		return err
	}
	no := DetachError{What: what}
	keeps := x.KeepsSecrets()
	store, err := x.DetachedStore(ctx)
	if err != nil {
		no.add("", "", "target %s is not set up for that: %v", sys.Target.Name, err)
	}
	if !w.store.Shared() {
		no.add(StateSetting, "", "the state is in a folder of this machine: keep it in a database that the cluster can reach")
	}
	switch {
	case w.shared == nil:
		no.add(ArtifactsSetting, store, "artifacts are only on this machine: keep them in the store of the target")
	case w.shared.url != store:
		no.add(ArtifactsSetting, store, "artifacts are kept in %s, but pods use %s: use the same store", w.shared.url, store)
	}
	for _, u := range sys.Units {
		for _, x := range u.Secrets {
			if x.Kubernetes == nil && !keeps {
				no.add("", "", "%s: secret %s comes from this machine: take it from the cluster, with secret: kubernetes: {name, key}", u.ID, x.Name)
			}
		}
		for _, f := range u.Files {
			if path.IsAbs(f) {
				no.add("", "", "%s: %s is an absolute path on this machine: use a path relative to the system's folder", u.ID, f)
			}
		}
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return err
	}
	for _, unit := range slices.Sorted(maps.Keys(current)) {
		if h := current[unit].Handle; h != nil && !w.remote(*h) {
			no.add("", "", "%s runs on this machine (%s), where the cluster cannot stop it: apply once from this machine", unit, h.Executor)
		}
	}
	pending, err := w.store.Pending(ctx)
	if err != nil {
		return err
	}
	for _, left := range pending {
		if left.Handle != nil && !w.remote(*left.Handle) {
			no.add("", "", "a killed apply left %s on this machine (%s): apply once from this machine", left.Run.Unit, left.Handle.Executor)
		}
	}
	if len(no.Obstacles) > 0 {
		return &no
	}
	return nil
}

// remote reports whether a task runs on other machines.
func (w *Workspace) remote(h state.Handle) bool {
	x, err := all.New(ir.Target{Executor: h.Executor}, w.setupApart())
	r, ok := x.(executors.Remote)
	return err == nil && ok && r.Remote()
}

// detachedIn returns the detached apply of a revision, or nil if it has none.
func (w *Workspace) detachedIn(ctx context.Context, r state.Revision) (executors.DetachedProgram, error) {
	if !w.store.Shared() || r.Act != state.Apply {
		return nil, nil
	}
	sys, err := w.system(ctx, &r)
	if w.unshared(err) {
		err = &SettingError{ArtifactsSetting, err}
	}
	if err != nil {
		return nil, err
	}
	setup, err := w.setup(ctx, sys.Name)
	if err != nil {
		return nil, err
	}
	x, err := all.New(sys.Target, setup)
	if err != nil {
		return nil, err
	}
	d, ok := x.(executors.Detacher)
	if !ok {
		return nil, nil
	}
	return d.Detached(setup.State, r.Number), nil
}

// endDetached removes the detached apply of the newest revision, after it has finished or
// lost the lock. If it cannot be found or removed it can do no harm any more, and is only
// reported.
func (w *Workspace) endDetached(ctx context.Context) error {
	last, err := w.store.Revisions(ctx, 1)
	if err != nil || len(last) == 0 {
		return err
	}
	d, err := w.detachedIn(ctx, last[0])
	if err == nil && d != nil {
		err = d.End(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && !w.unshared(err):
		w.set.warn(fmt.Errorf("a Job of revision %d may be left in the cluster: %w", last[0].Number, err))
	}
	return nil
}

// unshared reports whether something is missing because it exists on another machine
// only, where no detached apply could have read it either.
func (w *Workspace) unshared(err error) bool {
	return w.shared == nil && errors.Is(err, artifact.ErrMissing)
}
