package project

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/terraform/backend"
	"github.com/tenon-ml/tenon/executors/terraform/tool"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// RecoverInfrastructure records what a killed apply has left on this machine of what it did to the
// infrastructure. Call it before a plan is made.
func (s *Session) RecoverInfrastructure(ctx context.Context) (err error) {
	recorded, err := s.store.Infrastructure(ctx)
	if err != nil || recorded == nil {
		return err
	}
	p, kept, err := s.recordedProvisioner(ctx, recorded)
	if err != nil {
		left, unread := (&tool.Dir{Path: s.infrastructureDir()}).Left()
		if left == nil && unread == nil {
			return nil // the plan says why, if it needs the infrastructure
		}
		return fmt.Errorf("a killed apply has changed the infrastructure, and this cannot be recorded: %w", errors.Join(err, unread))
	}
	release, err := p.dir.Acquire(ctx) // the tool of a killed apply may still complete what it does
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	left, continues, err := p.left()
	if err != nil {
		return err
	}
	if left != nil && !continues {
		path, err := p.dir.SetAside()
		if err == nil {
			s.set.notify(Notice{Text: "an apply on this machine lost the lock, and another one has changed the infrastructure since: compare the resources in " + path + " with those of the cloud, and remove the file"})
		}
		return err
	}
	if left != nil {
		k := &keeper{p: p, lease: s.lease, revision: recorded.Revision, apply: recorded.Apply, sealedState: kept}
		if err := k.Write(ctx, left); err != nil {
			return err
		}
		s.set.notify(Notice{Text: "recorded what a killed apply has done to the infrastructure"})
	}
	return p.dir.Forget()
}

// recordedProvisioner returns what plans and applies the infrastructure that is recorded, and what it was
// made from.
func (w *Workspace) recordedProvisioner(ctx context.Context, recorded *state.Infrastructure) (*provisioner, sealedState, error) {
	p := &provisioner{w: w, recorded: recorded}
	var err error
	if p.key, err = w.sealKey(recorded); err != nil {
		return nil, sealedState{}, err
	}
	kept, err := p.open()
	if err != nil {
		return nil, kept, err
	}
	p, err = w.provisioner(ctx, kept.Target)
	return p, kept, err
}

// provision returns what changes the infrastructure as a plan says: before units run, and what is removed after them.
// Either is nil if there is nothing to do then.
func (s *Session) provision(ctx context.Context, plan *planner.Plan) (first, last executors.ProvisionFunc, err error) {
	i := plan.Infrastructure
	if !i.Changes() {
		return nil, nil, nil
	}
	recorded := i.Sealed == nil // of a controller, which may have been killed while it applied the plan
	if recorded {
		if err := s.RecoverInfrastructure(ctx); err != nil {
			return nil, nil, err
		}
	}
	p, err := s.provisioner(ctx, plan.System.Target)
	if err != nil {
		return nil, nil, err
	}
	if p == nil {
		return nil, nil, errors.New("the plan changes the infrastructure of a target that has none: plan again")
	}
	var moved error
	if now := p.version(); now != i.Version {
		moved = fmt.Errorf("%w: the infrastructure was at version %d and is now at %d: plan again", executors.ErrMoved, i.Version, now)
	}
	if moved != nil && !recorded {
		return nil, nil, moved
	}
	var file []byte
	if !recorded {
		if file, err = p.key.Open(i.Sealed, p.purpose("plan")); err != nil {
			return nil, nil, fmt.Errorf("the plan of the infrastructure: %w: plan again", err)
		}
	}
	apply := func(ctx context.Context, revision int, file []byte, send func(executors.Event)) error {
		return p.apply(ctx, &keeper{p: p, lease: s.lease, revision: revision, sealedState: sealedState{Files: i.Files, Target: plan.System.Target}}, file, send)
	}
	// again makes a part of the plan again that was shown. It may do less by now, and nothing else.
	again := func(only []string) executors.ProvisionFunc {
		return func(ctx context.Context, revision int, send func(executors.Event)) error {
			if moved != nil && (p.recorded == nil || p.recorded.Revision != revision) {
				return moved
			}
			now, file, err := p.compare(ctx, i.Files, tool.Scope{Only: only})
			if err == nil && now != nil {
				err = onlyShown(now.resources, i.Resources)
			}
			if err != nil || now == nil {
				return err
			}
			return apply(ctx, revision, file, send)
		}
	}
	shown := func(ctx context.Context, revision int, send func(executors.Event)) error {
		return apply(ctx, revision, file, send)
	}
	if recorded {
		shown = again(nil)
	}
	switch before, last := stages(i.Resources); {
	case !last:
		return shown, nil, nil
	case len(before) == 0:
		return nil, shown, nil
	default:
		return again(append(before, i.Beside...)), again(nil), nil
	}
}

// version returns that of the recorded state, or 0.
func (p *provisioner) version() int64 {
	if p.recorded == nil {
		return 0
	}
	return p.recorded.Version
}

// onlyShown returns an error if something would be done that was not shown.
func onlyShown(now, shown []planner.Resource) error {
	for _, r := range now {
		if !slices.ContainsFunc(shown, func(s planner.Resource) bool { return s.Address == r.Address && s.Action == r.Action }) {
			return fmt.Errorf("something has changed: the plan did not %s %s: plan again", r.Action, r.Address)
		}
	}
	return nil
}

// apply applies a plan of the tool, and passes on what it does.
func (p *provisioner) apply(ctx context.Context, k *keeper, file []byte, send func(executors.Event)) (err error) {
	server, err := backend.Serve(k, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	release, err := p.ready(ctx, server, k.Files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := k.begin(ctx); err != nil {
		return err
	}
	err = p.dir.Apply(ctx, file, func(s tool.Step) {
		text := map[string]map[tool.StepState]string{
			"create": {tool.Started: "creating", tool.Done: "created"},
			"update": {tool.Started: "updating", tool.Done: "updated"},
			"delete": {tool.Started: "removing", tool.Done: "removed"},
		}[s.Action][s.State]
		if s.State == tool.Errored {
			text = "failed to " + s.Action
		}
		if text != "" {
			send(executors.Event{Type: executors.EventResource, What: s.Address, Message: text})
		}
	})
	if err = errors.Join(server.Err(), err); err != nil {
		return fmt.Errorf("%s: %w%s", p.dir.String(), err, cloudHint(err))
	}
	return nil
}

// cloudHint returns what to do about an error of the cloud, or "".
func cloudHint(err error) string {
	text := err.Error()
	switch {
	case slices.ContainsFunc([]string{"AlreadyExists", "alreadyExists", "already exists", "AlreadyOwnedByYou"}, func(s string) bool { return strings.Contains(text, s) }):
		return "\nIt was made by somebody else, or by an apply that was killed before it could record it. If it is yours, remove it, name it in `existing`, or choose another `prefix`."
	case strings.Contains(text, "BucketNotEmpty") || strings.Contains(text, "without `force_destroy`"):
		return "\nThe bucket has artifacts, which only tenon destroy --delete-artifacts removes."
	}
	return ""
}

// An InfrastructureRemoval is what a destroy does to the infrastructure.
type InfrastructureRemoval struct {
	Resources []planner.Resource

	p         *provisioner
	kept      sealedState
	artifacts *store // or nil if there is none
}

// ErrArtifacts is returned for a removal that would remove artifacts.
var ErrArtifacts = errors.New("the infrastructure has a bucket for artifacts")

// PlanRemoval plans the removal of the infrastructure. It returns nil if there is none, and [ErrArtifacts] if it
// has a bucket that tenon made, unless artifacts may be removed.
func (s *Session) PlanRemoval(ctx context.Context, artifacts bool) (*InfrastructureRemoval, error) {
	recorded, err := s.store.Infrastructure(ctx)
	if err != nil || recorded == nil || recorded.Resources == 0 {
		return nil, err
	}
	r := new(InfrastructureRemoval)
	if r.p, r.kept, err = s.recordedProvisioner(ctx, recorded); err != nil {
		return nil, err
	}
	h, err := headOf(r.kept.State)
	if err != nil {
		return nil, err
	}
	for i := range stores {
		if h.has(stores[i].kind, artifactsName) { // and not one of a file of the user
			if !artifacts {
				return nil, ErrArtifacts
			}
			r.artifacts = &stores[i]
		}
	}
	changes, _, err := r.p.compare(ctx, r.kept.Files, tool.Scope{Destroy: true})
	if err != nil || changes == nil {
		return nil, err
	}
	r.Resources = changes.resources
	return r, nil
}

// artifactsName is the name of the resource that has the artifacts.
const artifactsName = "artifacts"

// A store is a type of that resource.
type store struct {
	kind   string
	forced bool // without force_destroy, it is only removed if it is empty
}

// stores are those of all clouds. Azure removes an account of storage with everything in it.
var stores = []store{{"aws_s3_bucket", true}, {"google_storage_bucket", true}, {"azurerm_storage_account", false}}

// The file overrideName makes a store be removed together with what is in it.
const overrideName = "artifacts_override.tf"

func (s store) override() string {
	return "resource \"" + s.kind + "\" \"" + artifactsName + "\" {\n  force_destroy = true\n}\n"
}

// deprovision returns what removes the infrastructure, or nil if there is none.
func (s *Session) deprovision(r *InfrastructureRemoval) executors.ProvisionFunc {
	if r == nil {
		return nil
	}
	return func(ctx context.Context, revision int, send func(executors.Event)) error {
		k := &keeper{p: r.p, lease: s.lease, revision: revision, sealedState: r.kept}
		if r.artifacts != nil && r.artifacts.forced {
			k.Files = maps.Clone(k.Files)
			k.Files[overrideName] = r.artifacts.override()
			changes, file, err := r.p.compare(ctx, k.Files, tool.Scope{Only: []string{r.artifacts.kind + "." + artifactsName}})
			if err != nil {
				return err
			}
			if changes != nil {
				if err := r.p.apply(ctx, k, file, send); err != nil {
					return err
				}
			}
		}
		now, file, err := r.p.compare(ctx, k.Files, tool.Scope{Destroy: true})
		if err != nil || now == nil {
			return err
		}
		if err := onlyShown(now.resources, r.Resources); err != nil {
			return err
		}
		return r.p.apply(ctx, k, file, send)
	}
}
