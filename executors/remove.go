package executors

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// Destroy removes everything that is deployed, dependents first, and forgets it. Runs,
// models and artifacts remain as history. If nothing is deployed it does nothing.
func Destroy(ctx context.Context, o Options) (*Result, error) {
	meta, err := o.Store.Meta(ctx)
	if err != nil {
		return nil, err
	}
	current, err := o.Store.Current(ctx)
	if err != nil {
		return nil, err
	}
	unfinished, err := Unfinished(ctx, o.Store)
	if err != nil {
		return nil, err
	}
	if len(current) == 0 && !unfinished && o.Deprovision == nil {
		return &Result{Outcome: state.Done}, nil
	}
	p := &planner.Plan{Version: planner.Version, State: meta, System: &ir.System{Version: ir.Version, Name: meta.System}}
	if last, err := o.Store.Revisions(ctx, 1); err == nil && len(last) > 0 {
		p.System.Target.Name = last[0].Target
	}
	for _, unit := range sortedKeys(current) {
		p.Items = append(p.Items, planner.Item{Unit: unit, Kind: current[unit].Kind, Action: planner.Delete})
	}
	o.act = state.Destroy
	return Apply(ctx, p, o)
}

// removeUnwanted removes the units that are no longer declared, after everything else
// that can proceed without. If a service did not become ready it leaves them to the next
// apply: one of them may still serve in its place. Those that another service has replaced
// at their address do not stay, because both would answer.
func (w *walk) removeUnwanted(ctx context.Context) {
	deletes := w.deletes
	w.deletes = nil
	if len(deletes) == 0 {
		return
	}
	if ctx.Err() != nil {
		w.result.Canceled = append(w.result.Canceled, deletes...)
		return
	}
	applied := map[string]*ir.Unit{}
	for _, unit := range deletes {
		u, err := appliedUnit(ctx, w.o.Store, unit)
		if err != nil {
			w.stop(err)
			return
		}
		applied[unit] = u
	}
	for i, n := range w.works {
		if n.unit.Kind == ir.Service && (n.failed || w.sched.nodes[i].blockedBy >= 0) {
			deletes = slices.DeleteFunc(deletes, func(unit string) bool {
				if w.replacedAtAddress(applied[unit]) {
					return false
				}
				w.result.Blocked = append(w.result.Blocked, Blocked{Unit: unit, By: n.unit.ID})
				w.events.send(Event{Unit: unit, Type: EventBlocked, By: n.unit.ID, Message: "not removed until " + n.unit.ID + " is ready"})
				return true
			})
			break
		}
	}
	w.removeAll(ctx, removalOrder(deletes, applied), applied)
}

// removeBeforeResources removes the units that are no longer declared and whose resources the plan
// deletes before units run: a function has to end while its role and its log group exist. If one of them cannot be
// removed, its resources stay, and the apply ends.
func (w *walk) removeBeforeResources(ctx context.Context) {
	if w.plan.Infrastructure == nil {
		return
	}
	loses := map[string]bool{}
	for _, r := range w.plan.Infrastructure.Resources {
		if r.Action == planner.Delete && !r.Last && r.Unit != "" {
			loses[r.Unit] = true
		}
	}
	var first, later []string
	for _, unit := range w.deletes {
		if loses[unit] {
			first = append(first, unit)
		} else {
			later = append(later, unit)
		}
	}
	failed := len(w.result.Failed)
	w.deletes = first
	w.removeUnwanted(ctx)
	w.deletes = later
	if len(w.result.Failed) > failed && ctx.Err() == nil {
		w.unprovisioned = errors.New("the infrastructure was not changed, because units that need it could not be removed")
		w.cancel(w.unprovisioned)
	}
}

// replacedAtAddress reports whether a service of this apply now listens where the unit does.
func (w *walk) replacedAtAddress(u *ir.Unit) bool {
	return u != nil && !ownPorts(w.o.Executor) && slices.ContainsFunc(w.works, func(n *work) bool {
		return n.ended && !n.failed && n.unit.Endpoint.Overlaps(u.Endpoint)
	})
}

func (w *walk) removeAll(ctx context.Context, order []string, applied map[string]*ir.Unit) {
	blocked := map[string]string{}
	for _, unit := range order {
		if ctx.Err() != nil {
			w.result.Canceled = append(w.result.Canceled, unit)
			continue
		}
		by := blocked[unit]
		if by != "" {
			w.result.Blocked = append(w.result.Blocked, Blocked{Unit: unit, By: by})
			w.events.send(Event{Unit: unit, Type: EventBlocked, By: by, Message: "not removed because " + by + " was not"})
		} else if err := w.remove(ctx, unit, applied[unit]); err != nil {
			by = unit
		}
		if by != "" && applied[unit] != nil {
			for _, in := range applied[unit].Inputs {
				blocked[in.Unit] = by
			}
		}
	}
}

// remove removes one unit and forgets it.
func (w *walk) remove(ctx context.Context, unit string, u *ir.Unit) error {
	began := w.o.Now()
	c := w.current[unit]
	var err error
	if c.Handle != nil {
		err = w.quit(ctx, *c.Handle)
	}
	if u != nil && u.Kind == ir.Record && err == nil {
		var keep []ir.Unit
		if keep, err = w.written(ctx); err == nil {
			err = w.hold(ctx)
		}
		if err == nil {
			err = w.o.Records.remove(u, keep)
		}
	}
	if err != nil && w.broken() != nil {
		return err
	}
	if ctx.Err() != nil && err != nil {
		w.result.Canceled = append(w.result.Canceled, unit)
		return err
	}
	if err != nil {
		w.leave(&UnitError{Unit: unit, Err: fmt.Errorf("remove it: %w", err)})
		return err
	}
	if err := w.o.Lease.Forget(context.WithoutCancel(ctx), unit); err != nil {
		w.stop(err)
		return err
	}
	w.sched.pools.giveParts(w.leases[unit])
	delete(w.leases, unit)
	w.result.Counts.Deleted++
	w.events.send(Event{Unit: unit, Type: EventDestroyed, Duration: w.o.Now().Sub(began)})
	return nil
}

// written returns the records as they are written now. One that is declared and failed has
// written nothing, unless an earlier apply did.
func (w *walk) written(ctx context.Context) ([]ir.Unit, error) {
	var units []ir.Unit
	for _, n := range w.works {
		if n.unit.Kind != ir.Record {
			continue
		}
		u := n.unit
		if !n.ended || n.failed {
			var err error
			if u, err = appliedUnit(ctx, w.o.Store, u.ID); err != nil {
				return nil, err
			}
		}
		if u != nil {
			units = append(units, *u)
		}
	}
	return units, nil
}

// removalOrder puts a unit before those it depends on.
func removalOrder(units []string, applied map[string]*ir.Unit) []string {
	var order []string
	seen := map[string]bool{}
	var visit func(unit string)
	visit = func(unit string) {
		if seen[unit] {
			return
		}
		seen[unit] = true
		if u := applied[unit]; u != nil {
			for _, in := range u.Inputs {
				if !in.Incumbent {
					visit(in.Unit)
				}
			}
		}
		if slices.Contains(units, unit) {
			order = append(order, unit)
		}
	}
	for _, unit := range slices.Sorted(slices.Values(units)) {
		visit(unit)
	}
	slices.Reverse(order)
	return order
}
