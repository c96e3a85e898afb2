package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// a detached apply is what a detached apply in the cluster is sent with: all that this machine has
// and the cluster has not. It is a blob of the store.
type detachedApply struct {
	Plan     *planner.Plan           `json:"plan"`
	Revision int                     `json:"revision"`
	Home     string                  `json:"home"`  // the context that this machine calls the cluster
	Files    map[string]artifact.Ref `json:"files"` // data files, by path as in [planner.Files]
	Images   map[string]string       `json:"images"`
	Parallel int                     `json:"parallel,omitempty"`
}

// detached is what --json prints of a plan that is applied in the cluster.
type detached struct {
	Type      string `json:"type"` // "detached"
	Revision  int    `json:"revision"`
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
}

// detach lets the cluster apply a plan of its target, and returns once the
// cluster has all that it needs for that.
func (a *app) detach(ctx context.Context, p *planner.Plan, w *workspace, lease *state.Lease, c consent) error {
	settings, err := kubernetes.SettingsOf(p.System.Target, p.System.Name)
	if err != nil {
		return err
	}
	in, err := w.setting(ctx, p.System.Name)
	if err != nil {
		return err
	}
	made, err := a.executor(p.System.Target, in)
	if err != nil {
		return err
	}
	x := made.(*kubernetes.Executor)
	fmt.Fprintln(a.stderr, "sending images, data and the plan to the cluster ...")
	e := detachedApply{Plan: p, Parallel: c.parallel}
	if e.Home, err = x.Home(); err != nil {
		return err
	}
	group, inGroup := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		e.Images, err = x.Publish(inGroup, p)
		return err
	})
	group.Go(func() (err error) {
		e.Files, err = w.send(inGroup, p)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := a.endDetached(ctx, w); err != nil {
		return err
	}
	o, err := a.options(w, lease, p.System.Target, in, nil)
	if err != nil {
		return err
	}
	o.Commit = gitCommit(p.Dir)
	if e.Revision, err = executors.Begin(ctx, p, o); err != nil {
		return err
	}
	name, err := w.startDetached(ctx, x, e)
	if err != nil {
		return errors.Join(err, lease.EndRevision(context.WithoutCancel(ctx), e.Revision, state.Failure, ""))
	}
	if c.json {
		return a.printJSONLine(detached{"detached", e.Revision, settings.Namespace, name})
	}
	fmt.Fprintf(a.stdout, "\n%s as revision %d: Job %s in namespace %s goes on without this machine.\n", a.paint("1;"+green, "Detached"), e.Revision, name, settings.Namespace)
	fmt.Fprint(a.stdout, "  tenon logs -f    follows it\n  tenon status     tells how far it is\n  tenon cancel     ends it, in order\n")
	return nil
}

// startDetached stores the detachedApply and makes the detached apply. It returns the name of its Job.
func (w *workspace) startDetached(ctx context.Context, x *kubernetes.Executor, e detachedApply) (string, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("send the plan: %w", err)
	}
	store, err := w.shared.store(ctx)
	if err != nil {
		return "", err
	}
	ref, err := store.PutBytes(ctx, text)
	if err != nil {
		return "", fmt.Errorf("send the plan: %w", err)
	}
	name := kubernetes.DetachedName(e.Plan.State.Lineage, e.Revision)
	return name, x.Detach(ctx, kubernetes.DetachedApply{
		Name: name, Base: e.Plan.Images[e.Plan.System.Target.Base()],
		Args: []string{"run-detached", "--artifacts", w.shared.url, "--request", ref.Digest, "--job", name},
	})
}

// send puts into the store the data files that units read which may run.
func (w *workspace) send(ctx context.Context, p *planner.Plan) (map[string]artifact.Ref, error) {
	store, err := w.shared.store(ctx)
	if err != nil {
		return nil, err
	}
	sent := map[string]artifact.Ref{}
	for _, i := range p.Items {
		u := p.System.Unit(i.Unit)
		if u == nil || !i.Action.Changes() || len(u.Files) == 0 {
			continue
		}
		found, err := planner.Files(p.Dir, u.Files)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.ID, err)
		}
		for _, files := range found {
			for _, f := range files {
				if _, ok := sent[f]; ok {
					continue
				}
				real, err := filepath.EvalSymlinks(filepath.Join(p.Dir, filepath.FromSlash(f)))
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

// detachable returns all that is in the way of walking a plan in the cluster.
func (a *app) detachable(ctx context.Context, p *planner.Plan, w *workspace) error {
	s, err := kubernetes.SettingsOf(p.System.Target, p.System.Name)
	if err != nil {
		return err
	}
	var errs []error
	no := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if x := p.System.Target.Executor; x != kubernetes.Name {
		return &usageError{fmt.Errorf("--detach applies the plan in a cluster, and the target %s is of the executor %s: choose a target of tenon.#Kubernetes", p.System.Target.Name, x)}
	}
	if s.Detached == nil {
		no("the target %s does not say how: add detached: {state_secret: NAME}, a Secret with TENON_STATE as pods reach it, and a service account by `tenon rbac`", p.System.Target.Name)
	}
	if !w.store.Shared() {
		no("the state is in a folder of this machine: keep it in a database that the cluster reaches, with --state postgres://...")
	}
	switch {
	case w.shared == nil:
		no("artifacts are on this machine alone: keep them in the store of the target, with --artifacts '%s'", s.Store)
	case w.shared.url != s.Store:
		no("artifacts are kept in %s, and pods reach %s: name that with --artifacts", w.shared.url, s.Store)
	}
	for _, u := range p.System.Units {
		for _, x := range u.Secrets {
			if x.Kubernetes == nil {
				no("%s: secret %s is taken from this machine: let it come from the cluster, as secret: kubernetes: {name, key}", u.ID, x.Name)
			}
		}
		for _, f := range u.Files {
			if path.IsAbs(f) {
				no("%s: %s is a path of this machine: name it as seen from the system's folder", u.ID, f)
			}
		}
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return err
	}
	for _, unit := range slices.Sorted(maps.Keys(current)) {
		if h := current[unit].Handle; h != nil && h.Executor != kubernetes.Name {
			no("%s stands on this machine (%s), where the cluster cannot end it: apply once without --detach", unit, h.Executor)
		}
	}
	pending, err := w.store.Pending(ctx)
	if err != nil {
		return err
	}
	for _, left := range pending {
		if left.Handle != nil && left.Handle.Executor != kubernetes.Name {
			no("a killed apply has left %s on this machine (%s): apply once without --detach", left.Run.Unit, left.Handle.Executor)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("the plan cannot be applied in the cluster:\n%w", errors.Join(errs...))
	}
	return nil
}

// detachedOf is who tells of the detached apply of a revision, and its name; nil if it has none.
func (a *app) detachedOf(ctx context.Context, w *workspace, r state.Revision) (*kubernetes.Executor, string, error) {
	if !w.store.Shared() || r.Act != state.Apply {
		return nil, "", nil
	}
	sys, err := w.system(ctx, &r)
	if w.unshared(err) {
		err = fmt.Errorf("%w; if it was detached, --artifacts names the store that has it", err)
	}
	if err != nil || sys.Target.Executor != kubernetes.Name || sys.Target.Settings["detached"] == nil {
		return nil, "", err
	}
	in, err := w.setting(ctx, sys.Name)
	if err != nil {
		return nil, "", err
	}
	x, err := a.executor(sys.Target, in)
	if err != nil {
		return nil, "", err
	}
	return x.(*kubernetes.Executor), kubernetes.DetachedName(in.state, r.Number), nil
}

// endDetached removes the detached apply of the newest revision, which has come to its end or has
// lost the lock. One that cannot be found or removed does no more, so that it is only
// said to be left.
func (a *app) endDetached(ctx context.Context, w *workspace) error {
	last, err := w.store.Revisions(ctx, 1)
	if err != nil || len(last) == 0 {
		return err
	}
	x, name, err := a.detachedOf(ctx, w, last[0])
	if err == nil && x != nil {
		err = x.EndDetached(ctx, name)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && !w.unshared(err):
		fmt.Fprintf(a.stderr, "tenon: a Job of revision %d may be left in the cluster: %v\n", last[0].Number, err)
	}
	return nil
}

// unshared reports whether what is missing is on another machine alone, where no detached apply
// could have read it either.
func (w *workspace) unshared(err error) bool {
	return w.shared == nil && errors.Is(err, artifact.ErrMissing)
}

// lay fetches the data files of a detached apply. The folder is as deep as the one that
// they come from, so that paths may leave it.
func (w *workspace) lay(ctx context.Context, e detachedApply, dir string) (sources string, err error) {
	sources = filepath.Join(dir, e.Plan.Dir)
	if err := os.MkdirAll(sources, 0o755); err != nil {
		return "", err
	}
	store, err := w.shared.store(ctx)
	if err != nil {
		return "", err
	}
	for _, f := range slices.Sorted(maps.Keys(e.Files)) {
		to := filepath.Join(sources, filepath.FromSlash(f))
		if rel, err := filepath.Rel(dir, to); err != nil || !filepath.IsLocal(rel) {
			return "", fmt.Errorf("the detachedApply is damaged: %q leaves its folder", f)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		if err := store.Get(ctx, e.Files[f], to); err != nil {
			return "", fmt.Errorf("fetch %s: %w", f, err)
		}
	}
	return sources, nil
}
