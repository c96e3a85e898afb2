package executors

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Reroute changes the weights of the versions of a service, as a revision of its own. The plan
// has one item, with the route that the service gets. Nothing is started or ended.
func Reroute(ctx context.Context, p *planner.Plan, o Options) (*Result, error) {
	o.act = state.Release
	w, err := begin(ctx, p, o)
	if err != nil {
		return nil, err
	}
	defer w.leaveFolder()
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.cancel = cancel
	for _, n := range w.works {
		if err := w.setRoute(wctx, n, n.item.Route); err != nil {
			w.leave(&UnitError{Unit: n.unit.ID, Err: err})
			continue
		}
		w.count(n, false)
		w.events.send(Event{Unit: n.unit.ID, Type: EventReleased, Message: routeText(n.item.Route) + ": " + n.item.Route.Reason})
	}
	return w.end(wctx)
}

// EndRelease makes the champion of a release run alone, as a revision of its own. The plan has
// one item, which pins the champion. back is the revision that deployed the champion.
func EndRelease(ctx context.Context, p *planner.Plan, o Options, back int) (*Result, error) {
	o.act, o.back = state.Release, back
	return Apply(ctx, p, o)
}

// setRoute records a route and makes it effective. The record comes first: whoever follows the
// release, or the next apply, makes it effective again if that did not happen. The record of the
// end of a release is removed afterwards.
func (w *walk) setRoute(ctx context.Context, n *work, r *state.Route) error {
	c, ok := w.current[n.unit.ID]
	if !ok || c.Handle == nil {
		return errors.New("it is not deployed")
	}
	v, ok := w.o.Executor.(VersionRunner)
	if !ok {
		return errors.New("its executor runs one version of a service at a time")
	}
	if x := r.Rejected; x != nil && x.Revision == 0 {
		x.Revision = w.result.Revision
	}
	ctx = context.WithoutCancel(ctx)
	record := func(r *state.Route) error {
		err := w.o.Lease.SetRoute(ctx, n.unit.ID, r)
		if err != nil {
			w.stop(err)
		}
		return err
	}
	if err := record(r); err != nil {
		return err
	}
	if err := w.hold(ctx); err != nil {
		return err
	}
	if err := v.SetRoute(ctx, *c.Handle, StepRoute(n.unit, r)); err != nil || !r.Finishing() {
		return err
	}
	return record(nil)
}

// StepRoute returns a route as the service gets it.
func StepRoute(u *ir.Unit, r *state.Route) step.Route {
	out := step.Route{Serial: r.Serial}
	if u.Release != nil {
		out.By = u.Release.By
	}
	for _, v := range r.Versions {
		out.Versions = append(out.Versions, step.RouteVersion{Name: v.Name, Weight: v.Weight, Shadow: v.Shadow})
	}
	return out
}

// routeText describes the weights of a route.
func routeText(r *state.Route) string {
	var parts []string
	for _, v := range r.Versions {
		text := fmt.Sprintf("%s %d %%", v.Name, v.Weight)
		if v.Shadow > 0 {
			text += fmt.Sprintf(" and a shadow of %g %%", 100*v.Shadow)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// policy applies an item that changes how a service is released, or which version was rejected, and
// starts nothing. Without a policy, the challenger becomes the champion.
func (w *walk) policy(ctx context.Context, n *work) error {
	n.key = n.item.Key
	if err := w.o.Lease.SetRelease(context.WithoutCancel(ctx), n.unit); err != nil {
		return &stateError{err}
	}
	c := w.current[n.unit.ID]
	if r := n.item.Route; r != nil { // a rollback, which changes nothing but the note
		to := *r
		if c.Route != nil {
			to.Serial = c.Route.Serial
		}
		if err := w.o.Lease.SetRoute(context.WithoutCancel(ctx), n.unit.ID, &to); err != nil {
			return &stateError{err}
		}
		return nil
	}
	if n.unit.Release != nil || !c.Route.Releasing() {
		return nil
	}
	return w.setRoute(ctx, n, planner.Finished(c.Route, w.o.Now(), "release was removed"))
}

// route returns the route with which a version of a service starts, or nil if it answers alone:
// it is the first version, or the same as before, or has no release, or restores what was there.
func (w *walk) route(ctx context.Context, n *work) (*state.Route, error) {
	c, ok := w.current[n.unit.ID]
	u := n.unit
	if !ok || u.Kind != ir.Service || c.Kind != ir.Service {
		return nil, nil
	}
	var serial int64
	if c.Route != nil {
		serial = c.Route.Serial
	}
	two := c.Route != nil && len(c.Route.Versions) == 2
	switch {
	case n.item.Pinned != nil && !(c.Route.Releasing() && n.key == c.Key):
		r := cmp.Or(n.item.Route, c.Route)
		if r == nil { // a rollback, and nothing is known of a rejection
			return nil, nil
		}
		return &state.Route{Serial: serial + 2, Rejected: r.Rejected}, nil
	case u.Release == nil || w.plan.BackTo > 0, two && n.key == c.Route.Champion().Key, !two && n.key == c.Key:
		return nil, nil
	case c.Route.Releasing() && n.key == c.Key: // both are started again
		r := c.Route.Clone()
		r.Serial++
		return r, nil
	}
	r := &state.Route{Serial: serial + 1, Reason: "a new version"} // its first step begins once it is ready
	challenger := state.RouteVersion{Key: n.key, Definition: u.Digest, Revision: w.result.Revision}
	champion := state.RouteVersion{Key: c.Key, Run: c.Run, Definition: c.Definition, Revision: c.Revision}
	var err error
	if two {
		champion = *c.Route.Champion()
	} else if champion.Unit, err = w.o.Store.Unit(ctx, u.ID); err != nil {
		return nil, &stateError{err}
	} else if run, err := w.o.Store.Run(ctx, champion.Run); err != nil {
		return nil, w.unresolved(err)
	} else if champion.Name, err = w.versionName(ctx, champion.Unit, champion.Key, run.Inputs); err != nil {
		return nil, err
	}
	if challenger.Name, err = w.versionName(ctx, u, n.key, n.inputs); err != nil {
		return nil, err
	}
	if challenger.Name == champion.Name { // the same model
		challenger.Name += " (" + short(n.key) + ")"
	}
	challenger.Weight, challenger.Shadow = planner.FirstWeight(*u.Release)
	champion.Weight, champion.Shadow = 100-challenger.Weight, 0
	r.Versions = []state.RouteVersion{champion, challenger}
	return r, nil
}

func (w *walk) unresolved(err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return errors.New("the run of the current version is no longer recorded, so the new one cannot be released beside it: remove release to replace it at once")
	}
	return &stateError{err}
}

// versionName returns the name of a version of a service: its model with the version of the
// registry, "late v3", or its key.
func (w *walk) versionName(ctx context.Context, u *ir.Unit, key string, inputs map[string]string) (string, error) {
	for _, in := range u.Inputs {
		if in.Kind != ir.Model {
			continue
		}
		v, err := w.version(ctx, in.Unit, inputs[in.Port])
		if err != nil {
			return "", &stateError{err}
		}
		if v > 0 {
			model, _ := ir.SplitID(in.Unit)
			return fmt.Sprintf("%s v%d", path.Base(model), v), nil
		}
	}
	return short(key), nil
}

// short returns the begin of a key.
func short(key string) string { return key[:min(8, len(key))] }

// released adds to a task what it needs to run several versions.
func (c *call) released(ctx context.Context, t *Task) error {
	u := c.n.unit
	if c.n.route != nil && len(c.n.route.Versions) == 2 {
		if _, ok := c.o.Executor.(VersionRunner); !ok {
			return errors.New("its executor runs one version of a service at a time: remove release")
		}
		t.Version = c.n.route.Challenger().Name
		if err := planner.Unprotected(c.n.route.Champion().Unit, u); err != nil {
			return err
		}
		champion, err := c.beside(ctx, t, c.n.route.Champion())
		if err != nil {
			return fmt.Errorf("run it beside %s: %w: remove release to replace that version at once", c.n.route.Champion().Name, err)
		}
		if err := host(t, &champion.Unit); err != nil {
			return fmt.Errorf("run it beside %s: %w: remove release to replace that version at once", champion.Version, err)
		}
		to := StepRoute(u, c.n.route)
		t.Beside, t.Route = map[string]Task{champion.Version: champion}, &to
		return nil
	}
	if u.Release == nil {
		return nil
	}
	var err error
	t.Version, err = c.versionName(ctx, u, c.n.key, c.n.inputs)
	return err
}

// host gives a task what another version needs in its process: programs, the larger of the
// resources of both, and the network if one of them has it.
func host(t *Task, other *ir.Unit) error {
	u := &t.Unit
	if other.Code.Runtime == ir.PlaneDuckDB {
		u.Code.Runtime = ir.PlaneDuckDB // which does all that a plane does
	}
	u.Code.DuckDB = cmp.Or(u.Code.DuckDB, other.Code.DuckDB)
	if other.Network == ir.NetworkOpen || u.Network == ir.NetworkNone {
		u.Network = other.Network
	}
	own, its := &u.Needs, other.Needs
	if its.GPU > 0 && (own.GPU != its.GPU || own.GPUMemory != its.GPUMemory || own.GPUModel != its.GPUModel || own.GPUSlice != its.GPUSlice) {
		return errors.New("it needs other GPUs")
	}
	own.MilliCPU = max(own.MilliCPU, its.MilliCPU)
	own.Memory, own.Disk, own.PIDs = larger(own.Memory, its.Memory), larger(own.Disk, its.Disk), larger(own.PIDs, its.PIDs)
	return nil
}

// larger returns the larger one of two limits, where 0 is none.
func larger(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// beside returns the task of a version that runs in the program of another one.
func (c *call) beside(ctx context.Context, host *Task, v *state.RouteVersion) (Task, error) {
	u := *v.Unit
	t := Task{Unit: u, Key: v.Key, Version: v.Name, Name: host.Name, Dir: host.Dir, Kept: host.Kept, State: host.State, Image: host.Image}
	// It may keep files although the new version does not any more.
	if u.Keeps != "" && host.Kept == "" {
		kept, err := c.layout.makeKept(c.environment(), u.ID)
		if err != nil {
			return t, err
		}
		t.Kept, host.Kept = kept, kept
	}
	for _, s := range u.Ships {
		if host.Unit.Ships.Of(s.Folder) == nil {
			host.Unit.Ships = append(slices.Clip(host.Unit.Ships), s)
		}
	}
	run, err := c.o.Store.Run(ctx, v.Run)
	if err != nil {
		return t, c.unresolved(err)
	}
	if err = c.layCode(ctx, &u, &t); err != nil {
		return t, err
	}
	if t.Inputs, err = c.recordedPorts(ctx, &u, run.Inputs); err != nil {
		return t, err
	}
	u.Secrets = slices.DeleteFunc(slices.Clone(u.Secrets), func(s ir.Secret) bool {
		return slices.Contains(host.Unit.Release.Edge.Secrets, s.Name) // the edge is that of the challenger
	})
	env, err := c.env(&u)
	if err != nil {
		return t, err
	}
	return t, shareSecrets(host, u.Secrets, env)
}

// shareSecrets gives a task the secrets of another version in its process. Values are those that
// tenon resolved; others come from the cluster.
func shareSecrets(host *Task, secrets []ir.Secret, env map[string]string) error {
	for _, s := range secrets {
		value, resolved := env[s.Name]
		i := slices.IndexFunc(host.Unit.Secrets, func(own ir.Secret) bool { return own.Name == s.Name })
		if i < 0 {
			host.Unit.Secrets = append(slices.Clone(host.Unit.Secrets), s)
			if resolved {
				host.Env = maps.Clone(host.Env)
				if host.Env == nil {
					host.Env = map[string]string{}
				}
				host.Env[s.Name] = value
			}
			continue
		}
		own := host.Unit.Secrets[i]
		of := func(k *ir.SecretKey) ir.SecretKey { return *cmp.Or(k, new(ir.SecretKey)) }
		if of(own.Kubernetes) != of(s.Kubernetes) || own.As != s.As || host.Env[s.Name] != value {
			return fmt.Errorf("both have a secret %s, with different values", s.Name)
		}
	}
	return nil
}

// recordedPorts returns the inputs of a version as its run read them.
func (c *call) recordedPorts(ctx context.Context, u *ir.Unit, inputs map[string]string) (map[string]step.Port, error) {
	data, err := c.data(ctx, u)
	if err != nil {
		return nil, err
	}
	for name, was := range inputs {
		if f, ok := strings.CutPrefix(name, "file:"); ok && data[f] != was {
			return nil, fmt.Errorf("it reads %s, which has changed", f)
		}
	}
	for _, f := range sortedKeys(data) {
		if inputs["file:"+f] == "" {
			return nil, fmt.Errorf("it reads %s, which is new", f)
		}
	}
	ports := map[string]step.Port{}
	for _, in := range u.Inputs {
		digest := inputs[in.Port]
		switch {
		case digest == "" || in.Checked:
			continue
		case in.Kind == ir.EndpointOf:
			p, err := c.recordedEndpoint(ctx, in, digest)
			if err != nil {
				return nil, err
			}
			ports[in.Port] = p
			continue
		case !c.o.Artifacts.Has(digest):
			return nil, fmt.Errorf("input %s: %w: %s of %s", in.Port, artifact.ErrMissing, in.From, in.Unit)
		}
		if _, err := c.check(ctx, digest); err != nil {
			return nil, fmt.Errorf("input %s: %s of %s: %w", in.Port, in.From, in.Unit, err)
		}
		p := step.Port{Kind: in.Kind, Schema: in.Schema.Bare(), Keys: in.Keys, Timestamp: in.Timestamp, Digest: digest, Path: c.o.Artifacts.Path(digest)}
		if in.Kind == ir.Table {
			p.Format = "parquet"
		}
		if p.Created, err = c.created(ctx, digest); err != nil {
			return nil, err
		}
		if in.Kind == ir.Model {
			if p.Version, err = c.version(ctx, in.Unit, digest); err != nil {
				return nil, err
			}
			if b, err := os.ReadFile(filepath.Join(p.Path, "signature.json")); err == nil && json.Unmarshal(b, &p.Signature) == nil {
				p.Signature = p.Signature.Bare()
			}
		}
		ports[in.Port] = p
	}
	return ports, nil
}

// recordedEndpoint returns the endpoint that a version reads, if it is still what its run read.
func (c *call) recordedEndpoint(ctx context.Context, in ir.Input, digest string) (step.Port, error) {
	of, ok := c.current[in.Unit]
	same := ok && planner.EndpointDigest(planner.ServingKey(of)) == digest
	if n := c.walk.byID[in.Unit]; n != nil && n.item.Action.Changes() {
		// The apply may change it. What this unit waits for is resolved by now, other units may not be.
		now := planner.EndpointDigest(n.item.Key)
		if c.n.item.Pinned == nil && !c.walk.partial() && slices.ContainsFunc(c.n.unit.Inputs, func(own ir.Input) bool { return own.Unit == in.Unit && !own.Incumbent }) {
			now = c.walk.output(in.Unit, in.From)
		}
		same = now == digest
	}
	if !same {
		return step.Port{}, fmt.Errorf("it reads the endpoint of %s, which has changed", in.Unit)
	}
	u, err := c.o.Store.Unit(ctx, in.Unit)
	if err != nil {
		return step.Port{}, &stateError{err}
	}
	return step.Port{Kind: in.Kind, Schema: in.Schema.Bare(), Keys: in.Keys, Timestamp: in.Timestamp, Digest: digest, Path: address(u.Endpoint)}, nil
}

// restoreRoute gives a service that a killed apply started the route that is recorded with it:
// the policy may have changed since then.
func (c *call) restoreRoute(ctx context.Context) error {
	r := c.n.route
	if !c.adopted || r == nil || len(r.Versions) < 2 {
		return nil
	}
	v, ok := c.o.Executor.(VersionRunner)
	if !ok {
		return nil
	}
	r.Serial++
	if err := c.hold(ctx); err != nil {
		return err
	}
	return v.SetRoute(ctx, *c.handle, StepRoute(c.n.unit, r))
}

// endRoutes ends releases before anything else happens. It takes all requests from challengers
// whose champion is deployed again: its own process is not there yet. And it gives those that have
// become the champion the route that an apply or a step did not, which was killed. If the process
// is gone, there is nothing to do.
func (w *walk) endRoutes(ctx context.Context) {
	for _, n := range w.works {
		c := w.current[n.unit.ID]
		r := n.item.Route
		switch {
		case ctx.Err() != nil || c.Route == nil:
			continue
		case c.Route.Finishing():
			r = c.Route
		case len(c.Route.Versions) < 2 || !n.item.Action.Changes() || n.item.Key != c.Route.Champion().Key:
			continue
		case r == nil || len(r.Versions) == 0:
			r = planner.Aborted(c.Route, w.o.Now(), "the champion is restored")
		}
		if err := w.setRoute(ctx, n, r); err == nil {
			w.events.send(Event{Unit: n.unit.ID, Type: EventReleased, Message: routeText(r) + ": " + r.Reason})
		}
	}
}

// rejected reports whether the key of a unit is that of a version that was rejected, and stays
// so. Its champion then remains.
func (w *walk) rejected(ctx context.Context, n *work) (bool, error) {
	c, ok := w.current[n.unit.ID]
	if !ok || !n.item.Unless || w.plan.BackTo > 0 || c.Route == nil || c.Route.Rejected == nil || c.Route.Rejected.Key != n.key {
		return false, nil
	}
	n.key = planner.ServingKey(c)
	if c.Route.Ending() {
		n.stays = c.Route.Champion().Unit
		return true, nil
	}
	var err error
	if n.stays, err = w.o.Store.Unit(ctx, n.unit.ID); err != nil {
		return false, w.unreadable(ctx, err)
	}
	return true, nil
}

// pinned makes a unit use what its recorded run read.
func (w *walk) pinned(ctx context.Context, n *work) error {
	run, err := w.o.Store.Run(ctx, n.item.Pinned.Run)
	if err != nil {
		return w.unresolved(err)
	}
	n.inputs, n.key = run.Inputs, n.item.Key
	return nil
}

// codeBlobs returns the code and the lock of a unit by digest: from the plan, or as recorded.
func (w *walk) codeBlobs(ctx context.Context, u *ir.Unit) map[string][]byte {
	blobs := w.plan.Blobs
	add := func(digest string) {
		if digest == "" || blobs[digest] != nil {
			return
		}
		if b, err := w.o.Artifacts.Bytes(ctx, digest); err == nil {
			blobs = maps.Clone(blobs)
			if blobs == nil {
				blobs = map[string][]byte{}
			}
			blobs[digest] = b
		}
	}
	add(u.Code.Lock)
	for _, lock := range u.Code.Environments {
		add(lock)
	}
	for _, f := range u.Code.Files {
		add(f.Digest)
	}
	return blobs
}

// image returns the image in which a unit runs, by digest. A pinned one has that of its recorded
// run; without that run, it is refused later.
func (w *walk) image(ctx context.Context, n *work) string {
	if n.item.Pinned != nil {
		if run, err := w.o.Store.Run(ctx, n.item.Pinned.Run); err == nil {
			return cmp.Or(planner.RecordedImage(run.Inputs), w.plan.Image(n.unit))
		}
	}
	return w.plan.Image(n.unit)
}
