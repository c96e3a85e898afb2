package project

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/terraform/backend"
	"github.com/tenon-ml/tenon/executors/terraform/tool"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// planInfrastructure compares the infrastructure that a system needs with what exists. It returns nil if the
// target has none.
func (w *Workspace) planInfrastructure(ctx context.Context, sys *ir.System) (*planner.Infrastructure, error) {
	out, err := w.planConfiguration(ctx, sys.Target, func(*provisioner) (map[string]string, error) { return configuration(sys) })
	if err == nil && out != nil && out.Unmanaged == "" {
		out.Standing, err = all.Standing(sys)
	}
	return out, err
}

// planInfrastructureOf is planInfrastructure for the configuration of an earlier revision, which a rollback restores.
// A revision of a controller has none in its plan: it left the infrastructure as it was.
func (w *Workspace) planInfrastructureOf(ctx context.Context, t ir.Target, revision int, then *planner.Infrastructure) (*planner.Infrastructure, error) {
	return w.planConfiguration(ctx, t, func(p *provisioner) (map[string]string, error) {
		if then != nil && then.Unmanaged == "" {
			return then.Files, nil
		}
		return p.configurationAt(ctx, revision)
	})
}

// configurationAt returns the configuration that was the last to be applied when a revision ended.
func (p *provisioner) configurationAt(ctx context.Context, revision int) (map[string]string, error) {
	versions, err := p.w.store.InfrastructureVersions(ctx, 0)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(versions, func(v state.Infrastructure) bool { return v.Revision <= revision }) // newest first
	if i < 0 || versions[i].Resources == 0 {
		return nil, &errUnmanaged{"the revision did not record it"}
	}
	s, err := (&provisioner{w: p.w, key: p.key, recorded: &versions[i]}).open()
	delete(s.Files, overrideName)
	return s.Files, err
}

func (w *Workspace) planConfiguration(ctx context.Context, t ir.Target, files func(*provisioner) (map[string]string, error)) (*planner.Infrastructure, error) {
	p, err := w.provisioner(ctx, t)
	if err == nil && p == nil {
		return nil, nil
	}
	var configured map[string]string
	if err == nil {
		configured, err = files(p)
	}
	var unmanaged *errUnmanaged
	switch {
	case errors.As(err, &unmanaged):
		return &planner.Infrastructure{Unmanaged: unmanaged.why}, nil
	case err != nil:
		return nil, err
	}
	return p.plan(ctx, configured)
}

func (p *provisioner) plan(ctx context.Context, files map[string]string) (*planner.Infrastructure, error) {
	out := &planner.Infrastructure{Tool: p.dir.String(), Config: digestOf(files), Files: files}
	if p.recorded != nil {
		out.Version = p.recorded.Version
	}
	changes, file, err := p.compare(ctx, files, tool.Scope{})
	if err != nil || changes == nil {
		return out, err
	}
	out.Resources, out.Unchanged = changes.resources, len(changes.unchanged)
	if err := keepsArtifacts(out.Resources); err != nil {
		return nil, err
	}
	if out.Count(planner.Delete) > 0 {
		b, err := (&keeper{p: p}).Read(ctx)
		if err != nil {
			return nil, err
		}
		h, err := headOf(b)
		if err != nil {
			return nil, err
		}
		h.order(out.Resources)
		out.Beside = lookedAt(changes, out.Resources)
	}
	out.Sealed, err = p.key.Seal(file, p.purpose("plan"))
	return out, err
}

// compared is what a plan of the tool does.
type compared struct {
	resources        []planner.Resource
	unchanged, moved []string // addresses, see [tool.Changes]
}

// compare plans a configuration, or its removal. It returns nil if nothing changes.
func (p *provisioner) compare(ctx context.Context, files map[string]string, scope tool.Scope) (_ *compared, file []byte, err error) {
	server, err := backend.Serve(&keeper{p: p}, false)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	release, err := p.ready(ctx, server, files)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	changes, file, err := p.dir.Plan(ctx, scope)
	if err != nil {
		return nil, nil, fmt.Errorf("plan the infrastructure with %s: %w", p.dir.String(), errors.Join(err, server.Err()))
	}
	if changes == nil {
		return nil, nil, nil
	}
	c := new(compared)
	c.resources, c.unchanged, c.moved = tool.Changes(changes)
	return c, file, nil
}

// ready puts a configuration and its providers into the folder of the tool, and locks the folder until release is
// called.
func (p *provisioner) ready(ctx context.Context, server *backend.Server, files map[string]string) (release func() error, err error) {
	if release, err = p.dir.Acquire(ctx); err != nil {
		return nil, err
	}
	p.dir.Backend = server.Environ()
	locks := ""
	if p.recorded != nil {
		locks = p.recorded.Locks
	}
	if err = p.dir.Write(files, locks); err == nil {
		err = p.dir.Init(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", p.dir.String(), err), release())
	}
	return release, nil
}
