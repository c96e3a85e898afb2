package planner

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A look is what is known of one unit when decide chooses its action.
type look struct {
	u       *ir.Unit
	inputs  map[string]string // known inputs, by port or "file:"+path
	unknown []string          // ports whose inputs are unknown
	current *state.Current    // what is deployed, or nil
	// key is the run key. With unknown inputs, it is the key that results if they come
	// out unchanged, or "" if they cannot.
	key string
	run *state.Run // the last Done run of key, or nil
	// fault says why run cannot be reused: it is too old, or an artifact is lost.
	fault []Reason
	prior map[string]string // see [maker.priorInputs]
}

// decide plans one unit. The units that it reads from are already decided.
func (m *maker) decide(u *ir.Unit) (Item, error) {
	if err := m.ctx.Err(); err != nil {
		return Item{}, err
	}
	l := look{u: u}
	if c, ok := m.current[u.ID]; ok {
		l.current = &c
		if becomesOther(u, c) {
			return Item{}, fmt.Errorf("it is a %s but deployed as a service: rename it, so that the service can be stopped", u.Kind)
		}
	}
	var err error
	if l.inputs, l.unknown, err = m.sources.Inputs(u, m.files[u.ID]); err != nil {
		return Item{}, err
	}
	if err := m.find(&l); err != nil {
		return Item{}, err
	}
	item := Item{Unit: u.ID, Kind: u.Kind, Unstable: m.unstable[m.former(u.ID)].Definition == u.Digest}
	if len(l.unknown) == 0 {
		item.Key = l.key
	}
	if u.Kind == ir.Job {
		err = m.job(&item, &l)
	} else {
		err = m.serviceOrRecord(&item, &l)
	}
	if err != nil {
		return Item{}, err
	}
	m.settle(item, &l)
	return item, nil
}

// becomesOther reports whether another kind of unit now has the name of a service. The
// service would have to end unannounced.
func becomesOther(u *ir.Unit, c state.Current) bool {
	return c.Kind == ir.Service && u.Kind != ir.Service && c.Handle != nil
}

// find computes the key of the unit and looks for a run of it.
func (m *maker) find(l *look) error {
	inputs := l.inputs
	if len(l.unknown) > 0 {
		prior, err := m.priorInputs(l)
		if err != nil {
			return err
		}
		inputs = maps.Clone(l.inputs)
		for _, port := range l.unknown {
			digest, ok := prior[port]
			if !ok {
				return nil
			}
			inputs[port] = digest
		}
	}
	l.key = RunKey(l.u, inputs)
	run, err := m.recordedRun(l)
	if err == nil && run == nil {
		run, err = m.sharedRun(l, inputs)
	}
	if err != nil || run == nil {
		return err
	}
	l.run = run
	l.fault = m.faults(l.u, run)
	return nil
}

// priorInputs returns what the deployed run read.
func (m *maker) priorInputs(l *look) (map[string]string, error) {
	if l.current == nil || l.prior != nil {
		return l.prior, nil
	}
	r, err := m.in.State.RunFor(m.ctx, m.former(l.u.ID), l.current.Key)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l.prior = r.Inputs
	if l.prior == nil {
		l.prior = map[string]string{} // not nil: the run is known and read nothing
	}
	return l.prior, nil
}

func (m *maker) recordedRun(l *look) (*state.Run, error) {
	if r, ok := m.currentRuns[l.u.ID]; ok && r.Key == l.key {
		return &r, nil
	}
	r, err := m.in.State.RunFor(m.ctx, m.former(l.u.ID), l.key)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	return r, err
}

// sharedRun looks for a run on another kind of target that gives the same bytes. The look
// then has the key of that run.
func (m *maker) sharedRun(l *look, inputs map[string]string) (*state.Run, error) {
	prior, err := m.priorInputs(l)
	if err != nil {
		return nil, err
	}
	key := SharedKey(l.u, inputs, prior)
	if key == "" {
		return nil, nil
	}
	r, err := m.in.State.RunFor(m.ctx, m.former(l.u.ID), key)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err == nil {
		l.key = key
	}
	return r, err
}

// faults says why a recorded run can no longer be reused.
func (m *maker) faults(u *ir.Unit, r *state.Run) []Reason {
	var out []Reason
	if age := m.in.Now.Sub(r.Finished); u.MaxAge > 0 && age > u.MaxAge {
		out = append(out, Reason{What: "older than max_age", Before: age.Round(time.Second).String(), After: u.MaxAge.String()})
	}
	for _, o := range u.Outputs {
		if o.Kind == ir.EndpointOf {
			continue
		}
		if a, ok := r.Outputs[o.Port]; !ok {
			out = append(out, Reason{What: "artifact " + o.Port + " is not recorded"})
		} else if !m.has(a.Digest) {
			out = append(out, Reason{What: "artifact " + o.Port + " lost", Before: describe(a)})
		}
	}
	return out
}

// job decides between run and reuse.
func (m *maker) job(item *Item, l *look) (err error) {
	good := l.run != nil && len(l.fault) == 0
	switch {
	case m.forced[l.u.ID]:
		item.Action, item.Reasons, item.Fresh = Run, []Reason{{What: "requested"}}, l.u.Checkpoints > 0
	case good && len(l.unknown) == 0:
		err = m.reuse(item, l)
	case good:
		item.Action, item.Unless, item.Reasons = Run, true, m.changingInputs(l)
	case l.run != nil && len(l.unknown) == 0:
		item.Action, item.Reasons = Run, l.fault
	default:
		item.Action = Run
		if item.Reasons, err = m.why(l); l.run != nil {
			item.Reasons = append(slices.Clone(l.fault), item.Reasons...)
		}
	}
	return err
}

// reuse keeps the result of a recorded run.
func (m *maker) reuse(item *Item, l *look) (err error) {
	item.Action, item.Run = Reuse, l.run.ID
	switch {
	case l.current == nil || l.current.Key != l.key:
		item.Reasons, err = m.why(l)
	case l.current.Run != l.run.ID: // a nondeterministic unit may have given another result
		current := m.currentRuns[l.u.ID]
		for _, o := range l.u.Outputs {
			if before, after := current.Outputs[o.Port], l.run.Outputs[o.Port]; before.Digest != after.Digest {
				item.Reasons = append(item.Reasons, Reason{What: "output " + o.Port, Before: describe(before), After: describe(after)})
			}
		}
	}
	return err
}

// serviceOrRecord plans a service or a record.
func (m *maker) serviceOrRecord(item *Item, l *look) (err error) {
	if done, err := m.releasing(item, l); done || err != nil {
		return err
	}
	dead := m.dead(l)
	given, err := m.givenOtherwise(l)
	if err != nil {
		return err
	}
	same := l.current != nil && l.current.Key == l.key && len(l.fault) == 0 && (l.run != nil || !l.u.HasArtifacts())
	switch {
	case l.current == nil:
		item.Action = Create
		item.Reasons, err = m.why(l)
	case m.forced[l.u.ID]:
		item.Action, item.Reasons = m.again(l), []Reason{{What: "requested"}}
	case dead != nil:
		item.Action, item.Reasons = m.again(l), dead
		if !same || len(l.unknown) > 0 {
			var more []Reason
			more, err = m.why(l)
			item.Reasons = append(item.Reasons, more...)
		}
	case l.current.Handle != nil && l.current.Handle.Executor != m.target:
		item.Action, item.Reasons = Replace, []Reason{{What: "executor", Before: l.current.Handle.Executor, After: m.target}}
		if !same || len(l.unknown) > 0 {
			var more []Reason
			more, err = m.why(l)
			item.Reasons = append(item.Reasons, more...)
		}
	case same && len(given) > 0:
		item.Action, item.Reasons = Update, append(given, m.changingInputs(l)...)
	case same && len(l.unknown) == 0:
		item.Action = None
	case same:
		var steps []Reason
		steps, err = m.steps(l)
		item.Action, item.Unless, item.Reasons = Update, true, append(m.changingInputs(l), steps...)
	case l.current.Key == l.key && len(l.unknown) == 0 && len(l.fault) > 0:
		item.Action, item.Reasons = m.again(l), l.fault
	default:
		item.Action = Update
		if item.Reasons, err = m.why(l); err != nil {
			return err
		}
		var steps []Reason
		steps, err = m.steps(l)
		item.Reasons = append(append(item.Reasons, given...), steps...)
	}
	return err
}

// givenOtherwise lists what a service requests that differs from what it was started
// with: needs, placement, replicas and its place in the target. These do not affect the result of a job, but a
// service keeps what it was started with.
func (m *maker) givenOtherwise(l *look) ([]Reason, error) {
	if l.u.Kind != ir.Service || l.current == nil {
		return nil, nil
	}
	old, err := m.applied(l.u.ID)
	if err != nil || old == nil {
		return nil, err
	}
	d := &differ{}
	d.tree("needs", resources(old.Needs), resources(l.u.Needs))
	placed := func(u *ir.Unit) any { return plain(cmp.Or(u.Kubernetes, &ir.Placement{})) }
	d.tree("kubernetes", placed(old), placed(l.u))
	d.tree("replicas", replicas(old), replicas(l.u))
	if h := l.current.Handle; h != nil && h.Executor == m.target && m.in.Placed != nil {
		if before, after := m.in.Placed(l.u, *h); before != after {
			d.out = append(d.out, Reason{What: "place", Before: before, After: after})
		}
	}
	return d.out, nil
}

// replicas returns how many replicas of a service run at once.
func replicas(u *ir.Unit) any {
	e := cmp.Or(u.Endpoint, &ir.Endpoint{})
	if e.Scale == nil {
		return plain(e.Replicas)
	}
	all := map[string]any{"min": e.Replicas, "max": e.Scale.Max, "cpu": e.Scale.CPU}
	if n := e.Scale.InFlight; n > 0 {
		all["in_flight"] = n
	}
	if d := e.Scale.Idle; d > 0 {
		all["idle"] = d.String()
	}
	return plain(all)
}

// again returns the action that makes the same thing again.
func (m *maker) again(l *look) Action {
	switch {
	case l.u.Kind == ir.Service:
		return Replace
	case m.statuses[l.u.ID].Phase == state.Absent:
		return Create
	}
	return Update
}

// dead says why what is deployed does not work although its definition is right, or
// returns nil.
func (m *maker) dead(l *look) []Reason {
	if l.current == nil {
		return nil
	}
	if l.u.Kind == ir.Record && m.in.Written != nil {
		if old, err := m.applied(l.u.ID); err == nil && old != nil {
			if why := m.in.Written(old); why != "" {
				return []Reason{{What: why}}
			}
		}
	}
	if l.current.Handle == nil {
		if m.in.Inspector == nil || l.u.Kind != ir.Service {
			return nil
		}
		return []Reason{{What: "it never ran"}}
	}
	st, looked := m.statuses[l.u.ID]
	if !looked {
		return nil
	}
	if why := Dead(l.u.Kind, st); why != "" {
		return []Reason{{What: why}}
	}
	return nil
}

// Dead says why a unit with that status does not work, or returns "".
func Dead(kind ir.Kind, st state.Status) string {
	switch {
	case st.Phase == state.Absent && kind == ir.Service:
		return "it is gone: no process runs"
	case st.Phase == state.Absent:
		return "it is gone"
	case st.Phase == state.Running && kind == ir.Service:
		return "it runs but is " + cmp.Or(st.Message, "not ready")
	case st.Phase != state.Failed:
		return ""
	case st.Signal != "":
		return "process died: " + st.Signal
	case st.Message != "":
		return "it failed: " + st.Message
	}
	return fmt.Sprintf("process died: exit %d", st.ExitCode)
}

// settle records what the units that read from this one may rely on.
func (m *maker) settle(item Item, l *look) {
	var known map[string]artifact.Artifact
	// What a record puts out depends on its key alone, wherever and whenever it is written.
	written := l.u.Kind == ir.Record && len(l.unknown) == 0 && len(l.fault) == 0
	if l.run != nil && (written || !item.Action.Changes()) {
		known = l.run.Outputs
	}
	if endpoint := func(o ir.Output) bool { return o.Kind == ir.EndpointOf }; slices.ContainsFunc(l.u.Outputs, endpoint) {
		recorded := known
		known = map[string]artifact.Artifact{}
		maps.Copy(known, recorded)
		for _, o := range l.u.Outputs {
			if !endpoint(o) {
				continue
			}
			delete(known, o.Port)
			if item.Key != "" {
				known[o.Port] = artifact.Artifact{Digest: EndpointDigest(item.Key), Kind: string(o.Kind)}
			}
		}
	}
	m.outputs[item.Unit] = known
}
