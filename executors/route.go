package executors

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Route returns an executor that starts tasks with the executor named target. It finds
// what was started before through its handle, which may name another executor. of returns
// the executor of a name, the same one each time; names lists all of them.
func Route(target string, names []string, of func(name string) (Executor, error)) (Executor, error) {
	to, err := of(target)
	if err != nil {
		return nil, err
	}
	return &router{to, target, names, of}, nil
}

type router struct {
	target Executor
	name   string
	names  []string
	of     func(name string) (Executor, error)
}

// Apply first ends a service of another executor if both may want the same port of this
// machine: they cannot share it, because they run as different users.
func (r *router) Apply(ctx context.Context, t Task, prior *state.Handle) (state.Handle, error) {
	if prior != nil && prior.Executor != r.name {
		from, err := r.of(prior.Executor)
		if err != nil {
			return state.Handle{}, err
		}
		if t.Unit.Endpoint != nil && !ownPorts(from) && !ownPorts(r.target) {
			if err := from.Destroy(ctx, *prior); err != nil {
				return state.Handle{}, err
			}
		}
		prior = nil
	}
	return r.target.Apply(ctx, t, prior)
}

// Taken asks the target's executor.
func (r *router) Taken(ctx context.Context, t Task, prior *state.Handle) (string, error) {
	if h, ok := r.target.(Host); ok {
		return h.Taken(ctx, t, prior)
	}
	return "", nil
}

// Admit asks the target's executor.
func (r *router) Admit(ctx context.Context, units []ir.Unit) (bool, error) {
	if a, ok := r.target.(Admitter); ok {
		return a.Admit(ctx, units)
	}
	return false, nil
}

// Located asks the executor of the service.
func (r *router) Located(ctx context.Context, h state.Handle) (state.Handle, error) {
	x, err := r.of(h.Executor)
	if err != nil {
		return h, err
	}
	if l, ok := x.(Locator); ok {
		return l.Located(ctx, h)
	}
	return h, nil
}

// SetRoute and Observe ask the executor of the service.
func (r *router) SetRoute(ctx context.Context, h state.Handle, to step.Route) error {
	v, err := r.versions(h)
	if err != nil {
		return err
	}
	return v.SetRoute(ctx, h, to)
}

func (r *router) Observe(ctx context.Context, h state.Handle) (*step.Observed, error) {
	v, err := r.versions(h)
	if err != nil {
		return nil, err
	}
	return v.Observe(ctx, h)
}

func (r *router) versions(h state.Handle) (VersionRunner, error) {
	x, err := r.of(h.Executor)
	if err != nil {
		return nil, err
	}
	v, ok := x.(VersionRunner)
	if !ok {
		return nil, fmt.Errorf("the executor %q runs one version of a service at a time", h.Executor)
	}
	return v, nil
}

// PerHourOf asks the executor of the service. One that cannot tell says what the service costs on the target.
func (r *router) PerHourOf(u *ir.Unit, h state.Handle) (planner.PerHour, bool) {
	x, err := r.of(h.Executor)
	if err != nil { // it cannot have machines that are billed
		return planner.PerHour{}, false
	}
	if p, ok := x.(DeployedPricer); ok {
		return p.PerHourOf(u, h)
	}
	if p, ok := x.(HourPricer); ok && h.Executor == r.name && u != nil {
		return p.PerHour(u)
	}
	return planner.PerHour{}, false
}

// OwnPorts asks the target's executor.
func (r *router) OwnPorts() bool { return ownPorts(r.target) }

func ownPorts(x Executor) bool {
	h, ok := x.(PortIsolation)
	return ok && h.OwnPorts()
}

// Find asks the target's executor first, and then the others: the target may have changed
// since the task was started.
func (r *router) Find(ctx context.Context, name, dir string) (*state.Handle, error) {
	h, err := r.target.Find(ctx, name, dir)
	for _, other := range r.names {
		if err != nil || h != nil {
			break
		}
		if other == r.name {
			continue
		}
		x, xerr := r.of(other)
		if xerr != nil {
			return nil, xerr
		}
		// A started task is found by its folder alone. An executor that cannot be asked,
		// for instance because it is not installed, can only have tasks that were
		// prepared and will never run.
		h, _ = x.Find(ctx, name, dir)
	}
	return h, err
}

func (r *router) Inspect(ctx context.Context, h state.Handle) (state.Status, error) {
	x, err := r.of(h.Executor)
	if err != nil {
		return state.Status{}, err
	}
	return x.Inspect(ctx, h)
}

func (r *router) Destroy(ctx context.Context, h state.Handle) error {
	x, err := r.of(h.Executor)
	if err != nil {
		return err
	}
	return x.Destroy(ctx, h)
}

// Wait waits in the executor's own way if it has one.
func (r *router) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	x, err := r.of(h.Executor)
	if err != nil {
		return state.Status{}, err
	}
	if w, ok := x.(Waiter); ok {
		return w.Wait(ctx, h)
	}
	return x.Inspect(ctx, h)
}

func (r *router) Check(u ir.Unit) []ir.Fault {
	if c, ok := r.target.(Checker); ok {
		return c.Check(u)
	}
	return nil
}

// Prepares, Missing and Prepare ask the target's executor.
func (r *router) Prepares(u ir.Unit, image string) string {
	if p, ok := r.target.(Preparer); ok {
		return p.Prepares(u, image)
	}
	return ""
}

func (r *router) Missing(u ir.Unit, image string, lock []byte) *planner.Preparation {
	if p, ok := r.target.(Preparer); ok {
		return p.Missing(u, image, lock)
	}
	return nil
}

func (r *router) Prepare(ctx context.Context, t Task, report func(step.Progress)) error {
	if p, ok := r.target.(Preparer); ok {
		return p.Prepare(ctx, t, report)
	}
	return nil
}

// Python asks the target's executor.
func (r *router) Python(ctx context.Context, version string, install bool) (string, error) {
	if p, ok := r.target.(Interpreter); ok {
		return p.Python(ctx, version, install)
	}
	return "", nil
}

// Collect asks every executor. Executors other than the target's may be unavailable.
func (r *router) Collect(ctx context.Context, n Needed, dry bool) ([]Garbage, error) {
	var all []Garbage
	var partial error // a [PartialError] of the target's
	for _, name := range r.names {
		x, err := r.of(name)
		if err != nil {
			return nil, err
		}
		c, ok := x.(Collector)
		if !ok {
			continue
		}
		found, err := c.Collect(ctx, n, dry)
		if name == r.name && errors.As(err, new(*PartialError)) {
			partial = err
		} else if name == r.name && err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, partial
}

func (r *router) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	x, err := r.of(h.Executor)
	if err != nil {
		return err
	}
	l, ok := x.(Logger)
	if !ok {
		return fmt.Errorf("the executor %q keeps no logs", h.Executor)
	}
	return l.Logs(ctx, h, w, follow)
}
