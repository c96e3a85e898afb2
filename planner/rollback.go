package planner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Past is a revision that was applied completely.
type Past struct {
	Revision int
	System   *ir.System
	Deployed state.Deployed // what was deployed at its end
	// Rejected are the versions of services that its plan knew as rejected, see [Plan.Rejected].
	Rejected map[string]state.Rejected
	// Moves are those of the later revisions, oldest first.
	Moves []ir.Move
	// Check reads an artifact and compares it with its digest. It is called for
	// everything to be restored. Nil assumes that all artifacts are intact.
	Check func(ctx context.Context, digest string) error
}

// PlanRollback returns the plan that restores a recorded revision: each result becomes
// current as it was then, and services and records are made from these results. No job
// runs again, and no data is read. What is lost cannot be restored; the error lists all
// of it.
func PlanRollback(ctx context.Context, past Past, in Inputs) (*Plan, error) {
	m := newMaker(ctx, in)
	m.recalls = true
	p, err := m.rollback(past)
	if err != nil {
		return nil, fmt.Errorf("roll back to revision %d: %w", past.Revision, err)
	}
	return p, nil
}

func (m *maker) rollback(past Past) (*Plan, error) {
	meta, err := m.in.State.Meta(m.ctx)
	if err != nil {
		return nil, err
	}
	sys := *past.System
	sys.Moved = nil // they led to that revision; now they are undone
	for _, mv := range slices.Backward(past.Moves) {
		from, _ := ir.SplitID(mv.To)
		to, _ := ir.SplitID(mv.From)
		if back := (ir.Move{From: from, To: to}); !slices.Contains(sys.Moved, back) {
			sys.Moved = append(sys.Moved, back)
		}
	}
	if err := m.load(withoutFiles(&sys)); err != nil {
		return nil, err
	}
	order, err := sort(sys.Units)
	if err != nil {
		return nil, err
	}
	p := m.plan(&sys, meta)
	p.BackTo = past.Revision
	var lost []error
	for _, i := range order {
		u := &sys.Units[i]
		item, err := m.recallUnit(u, &past)
		if err != nil {
			lost = append(lost, fmt.Errorf("%s: %w", u.ID, err))
			continue
		}
		p.Items = append(p.Items, item)
	}
	if len(lost) > 0 {
		return nil, errors.Join(lost...)
	}
	gone, err := m.deletes(&sys)
	if err != nil {
		return nil, err
	}
	p.Items = append(p.Items, gone...)
	if err := errors.Join(m.estimate(p), m.price(p)); err != nil {
		return nil, err
	}
	p.warn()
	return p, nil
}

// recallUnit plans to restore a unit as it was deployed then.
func (m *maker) recallUnit(u *ir.Unit, past *Past) (Item, error) {
	deployed, check := past.Deployed[u.ID], past.Check
	if deployed.Key == "" {
		return Item{}, errors.New("its deployment was not recorded")
	}
	l := look{u: u, key: deployed.Key}
	if c, ok := m.current[u.ID]; ok {
		l.current = &c
		if becomesOther(u, c) {
			return Item{}, fmt.Errorf("it was a %s but is deployed as a service: run tenon destroy first", u.Kind)
		}
	}
	run, err := m.deployedRun(&l, deployed)
	if err != nil {
		return Item{}, err
	}
	for _, o := range u.Outputs {
		if a, ok := run.Outputs[o.Port]; o.Kind != ir.EndpointOf && (!ok || !m.in.Artifacts.Has(a.Digest)) {
			return Item{}, fmt.Errorf("its artifact %s is lost (%s)", o.Port, describe(a))
		}
	}
	item := Item{Unit: u.ID, Kind: u.Kind, Key: deployed.Key}
	if item.Pinned, err = m.pinnedTo(u, deployed, run); err != nil {
		return Item{}, err
	}
	if item.Pinned != nil {
		l.u = &item.Pinned.Unit
	}
	l.run, l.inputs = run, maps.Clone(run.Inputs)
	if again := l.current == nil || l.current.Run != run.ID; again && check != nil && u.Kind == ir.Job {
		for _, port := range slices.Sorted(maps.Keys(run.Outputs)) {
			if err := check(m.ctx, run.Outputs[port].Digest); err != nil {
				return Item{}, fmt.Errorf("its artifact %s is damaged: %w", port, err)
			}
		}
	}
	if u.Kind == ir.Job {
		err = m.reuse(&item, &l)
	} else {
		err = m.serviceOrRecord(&item, &l)
	}
	if item.Action == None && l.current.Route.Ending() {
		item.Action, item.Reasons = Replace, []Reason{{What: fmt.Sprintf("%s was rejected, and answers nothing", l.current.Route.Challenger().Name)}}
	}
	if err == nil && item.Pinned != nil {
		err = m.rejects(&item, &l, u, past)
	}
	m.settle(item, &l)
	return item, err
}

// Rejected returns the version of each service that the plan knew as rejected.
func (p *Plan) Rejected() map[string]state.Rejected {
	all := map[string]state.Rejected{}
	for i := range p.Items {
		if r := p.Items[i].Route; r != nil && r.Rejected != nil {
			all[p.Items[i].Unit] = *r.Rejected
		}
	}
	return all
}

// rejects plans to note again that the declared version of a service was rejected, so that the next
// apply of the same sources does not release it.
func (m *maker) rejects(item *Item, l *look, declared *ir.Unit, past *Past) error {
	note, ok := past.Rejected[declared.ID]
	if !ok {
		return nil
	}
	if key, err := m.declaredKey(declared, l.run); err != nil || key != note.Key {
		return err
	}
	route := &state.Route{Rejected: &note}
	if item.Action != None {
		item.Route = route
		return nil
	}
	now := l.current.Route
	switch {
	case now != nil && len(now.Versions) > 0: // a release that goes on
		return nil
	case now == nil || now.Rejected == nil:
		item.Reasons = []Reason{{What: "rejected version", After: note.Name}}
	case now.Rejected.Key == note.Key:
		return nil
	default:
		item.Reasons = []Reason{{What: "rejected version", Before: now.Rejected.Name, After: note.Name}}
	}
	item.Action, item.Route = Release, route
	return nil
}

// pinnedTo returns what a service was made from, if that is not what its revision declares, or nil:
// a release had rejected the declared version, so the champion was deployed. The units that the
// declared one reads from are already planned.
func (m *maker) pinnedTo(u *ir.Unit, deployed state.DeployedUnit, run *state.Run) (*state.Pinned, error) {
	switch {
	case u.Kind != ir.Service || deployed.Pinned != nil:
		return deployed.Pinned, nil
	case run.Definition != u.Digest:
		return nil, errors.New("its declared version had been rejected, and an older tenon did not record the one that was deployed")
	}
	key, err := m.declaredKey(u, run)
	if err != nil || key == deployed.Key {
		return nil, err
	}
	return &state.Pinned{Unit: *u, Run: run.ID}, nil
}

// declaredKey returns the key of the declared version of a service. run is that of the deployed
// one, which has read the same files.
func (m *maker) declaredKey(u *ir.Unit, run *state.Run) (string, error) {
	inputs, _, err := m.sources.Inputs(u, nil)
	if err != nil {
		return "", err
	}
	for name, digest := range run.Inputs {
		if strings.HasPrefix(name, filePrefix) {
			inputs[name] = digest
		}
	}
	return RunKey(u, inputs), nil
}

// deployedRun returns the run whose result was deployed.
func (m *maker) deployedRun(l *look, deployed state.DeployedUnit) (run *state.Run, err error) {
	switch {
	case deployed.Pinned != nil:
		run, err = m.in.State.Run(m.ctx, deployed.Pinned.Run)
	case deployed.Run > 0:
		run, err = m.in.State.Run(m.ctx, deployed.Run)
	default:
		if run, err = m.recordedRun(l); err == nil && run != nil {
			run, err = m.in.State.Run(m.ctx, run.ID) // with its inputs
		}
	}
	if errors.Is(err, state.ErrNotFound) || err == nil && (run == nil || run.Key != deployed.Key) {
		return nil, errors.New("its run is no longer recorded")
	}
	return run, err
}
