package planner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// inspections is how many services are inspected at once.
const inspections = 16

// A State is the part of the state that the planner reads; [state.Store] implements it.
type State interface {
	Meta(context.Context) (state.Meta, error)
	Current(context.Context) (map[string]state.Current, error)
	CurrentRuns(context.Context) (map[string]state.Run, error)
	Estimates(context.Context) (map[string][]time.Duration, error)
	PrepareTimes(context.Context) (map[string]time.Duration, error)
	DoneInputs(ctx context.Context, units []string) ([]map[string]string, error)
	Unstable(context.Context) (map[string]state.Unstable, error)
	Used(ctx context.Context, definitions map[string]string) (map[string]state.Used, error)
	Unit(ctx context.Context, id string) (*ir.Unit, error)
	Run(ctx context.Context, id int64) (*state.Run, error)
	RunFor(ctx context.Context, unit, key string) (*state.Run, error)
	Artifact(ctx context.Context, digest string) (artifact.Artifact, error)
	Incumbent(ctx context.Context, model, candidate string) (*state.ModelVersion, error)
}

// Artifacts reports which artifacts still exist.
type Artifacts interface {
	Has(digest string) bool
	// Present answers for many at once.
	Present(digests []string) map[string]bool
}

// An Inspector returns the status of something that an executor started. Absence is a
// status, not an error.
type Inspector interface {
	Inspect(ctx context.Context, h state.Handle) (state.Status, error)
}

// Digests returns the digests of data files. Paths are as [Files] returns them, relative
// to dir or absolute.
type Digests interface {
	Digest(ctx context.Context, dir string, paths []string) (map[string]string, error)
}

// Inputs is what a plan is made from, besides the system.
type Inputs struct {
	Dir       string            // the system's folder, absolute
	Blobs     map[string][]byte // code and locks, by digest
	State     State
	Artifacts Artifacts
	Digests   Digests
	// Inspector inspects the deployed services. Without it they are assumed to be as
	// recorded.
	Inspector Inspector
	// Preparer knows what has to be prepared before units can start. Without it nothing
	// is prepared.
	Preparer Preparer
	// PerHour says what a service costs whose machines are its own. Nil is that all are in pools.
	PerHour func(u *ir.Unit) (PerHour, bool)
	// PerHourNow says what a service costs where it is, which may be another place than that of the plan, or one machine of it if u
	// is nil. Nil is that PerHour says so.
	PerHourNow func(u *ir.Unit, h state.Handle) (PerHour, bool)
	// Placed says where a deployed service runs within its target, and where it would run now; equal texts
	// if it stays. Nil is that targets have one place.
	Placed func(u *ir.Unit, h state.Handle) (before, after string)
	// Written says why what was written for a record has changed or disappeared, or
	// returns "". Without it records are assumed to be unchanged.
	Written func(u *ir.Unit) string
	// Images maps images to their references by digest, see [Plan].
	Images map[string]string
	// Python maps versions of Python to those of interpreters, see [Plan]. With nil, no
	// key depends on them.
	Python map[string]string
	// Known is what was read of the state before, if anything. It is read again if the
	// state has changed since.
	Known *Known
	// Similar means that jobs which never ran are estimated from similar ones that did.
	Similar bool
	// Others is what is recorded of other systems, for jobs that resemble none of this one.
	Others []*Recorded
	// PerReplica means that each replica of a service has what the unit asks for.
	PerReplica bool
	Options
}

// Known is what every plan reads of the state, whatever the system.
type Known struct {
	meta        state.Meta
	current     map[string]state.Current
	currentRuns map[string]state.Run
	unstable    map[string]state.Unstable
}

// Know reads the state ahead of [Make], such as while the system is compiled.
func Know(ctx context.Context, s State) (*Known, error) {
	// The serial comes first: if the state changes while it is read, the plan has an older
	// serial and is refused, never wrongly accepted.
	meta, err := s.Meta(ctx)
	if err != nil {
		return nil, err
	}
	k := &Known{meta: meta}
	var errs [3]error
	var wg sync.WaitGroup
	wg.Go(func() { k.current, errs[0] = s.Current(ctx) })
	wg.Go(func() { k.currentRuns, errs[1] = s.CurrentRuns(ctx) })
	wg.Go(func() { k.unstable, errs[2] = s.Unstable(ctx) })
	wg.Wait()
	return k, errors.Join(errs[:]...)
}

// Options are the choices of the user.
type Options struct {
	// Rerun names units or entities to run even if nothing changed.
	Rerun []string
	// Only names the entities to plan, with what they read from and, unless Upstream is set, what reads
	// from them. All other units stay as they are deployed, whatever was declared or has changed since.
	// Nil plans all.
	Only     []string
	Upstream bool
	// Now is the time at which the plan is made; zero means the current time.
	Now time.Time
}

// Make returns the plan that turns what is deployed into what sys declares.
func Make(ctx context.Context, sys *ir.System, in Inputs) (*Plan, error) {
	m := newMaker(ctx, in)
	if in.Known != nil {
		now, err := in.State.Meta(ctx)
		if err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
		if now != in.Known.meta {
			m.in.Known = nil
		}
	}
	order, err := sort(sys.Units)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if m.forced, err = forced(sys, in.Rerun); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	// Read concurrently what units used; it is only needed once all is decided.
	var used map[string]state.Used
	var usedErr error
	var wg sync.WaitGroup
	wg.Go(func() { used, usedErr = in.State.Used(ctx, asking(sys)) })
	defer wg.Wait()
	only := scope(sys, in.Only, in.Upstream)
	if err := m.load(only.read(sys)); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p := m.plan(sys, m.in.Known.meta)
	for _, i := range order {
		u := &sys.Units[i]
		decide := m.decide
		if only != nil && !only[u.ID] {
			decide = m.keep
		}
		item, err := decide(u)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", u.ID, err)
		}
		p.Items = append(p.Items, item)
	}
	if only == nil {
		gone, err := m.deletes(sys)
		if err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
		p.Items = append(p.Items, gone...)
	}
	if wg.Wait(); usedErr != nil {
		return nil, fmt.Errorf("plan: %w", usedErr)
	}
	p.advise(used)
	if err := errors.Join(m.estimate(p), m.price(p)); err != nil {
		return nil, err
	}
	p.warn()
	p.Warnings = append(p.Warnings, m.rejections...)
	if err := m.warnJudged(p); err != nil {
		return nil, err
	}
	return p, nil
}

// A maker makes one plan.
type maker struct {
	ctx         context.Context
	in          Inputs
	forced      map[string]bool
	target      string // its executor
	entities    map[string]*ir.Entity
	moves       []ir.Move
	was         map[string]string // old id of a moved unit or entity
	current     map[string]state.Current
	currentRuns map[string]state.Run
	present     map[string]bool // whether the artifacts of those runs exist, by digest
	unstable    map[string]state.Unstable
	statuses    map[string]state.Status
	files       map[string][]string // by unit
	sources     Sources
	recalls     bool         // it plans a rollback
	rejections  []ir.Warning // of services whose declared version was rejected

	outputs map[string]map[string]artifact.Artifact // known outputs, by unit and port
}

func newMaker(ctx context.Context, in Inputs) *maker {
	if in.Now.IsZero() {
		in.Now = time.Now()
	}
	return &maker{ctx: ctx, in: in, outputs: map[string]map[string]artifact.Artifact{}}
}

// outputs returns the digests of the artifacts of runs.
func outputs(runs map[string]state.Run) []string {
	digests := make([]string, 0, len(runs))
	for _, r := range runs {
		for _, a := range r.Outputs {
			digests = append(digests, a.Digest)
		}
	}
	return digests
}

// has reports whether an artifact exists.
func (m *maker) has(digest string) bool {
	if found, ok := m.present[digest]; ok {
		return found
	}
	return m.in.Artifacts.Has(digest)
}

func (m *maker) plan(sys *ir.System, meta state.Meta) *Plan {
	return &Plan{
		Version: Version, Created: m.in.Now.UTC(), Dir: m.in.Dir, System: sys, Blobs: m.in.Blobs, Files: m.sources.Files,
		Images: m.in.Images, Python: m.in.Python,
		State: meta, Moves: m.moves, Items: make([]Item, 0, len(sys.Units)),
	}
}

func (m *maker) load(sys *ir.System) error {
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() {
		if m.in.Known == nil {
			if m.in.Known, errs[0] = Know(m.ctx, m.in.State); errs[0] != nil {
				return
			}
		}
		m.current, m.currentRuns, m.unstable = m.in.Known.current, m.in.Known.currentRuns, m.in.Known.unstable
		m.present = m.in.Artifacts.Present(outputs(m.currentRuns))
	})
	wg.Go(func() { errs[1] = m.loadFiles(sys) })
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	m.entities = make(map[string]*ir.Entity, len(sys.Entities))
	for i := range sys.Entities {
		m.entities[sys.Entities[i].ID] = &sys.Entities[i]
	}
	m.move(sys)
	m.target = sys.Target.Executor
	m.sources.Images, m.sources.Base, m.sources.Python = m.in.Images, sys.Target.Base(), m.in.Python
	m.sources.Output = func(unit, port string) string { return m.outputs[unit][port].Digest }
	m.sources.Incumbent = func(model, candidate string) (string, error) {
		v, err := m.in.State.Incumbent(m.ctx, m.former(model), candidate)
		return IncumbentDigest(v, m.in.Artifacts.Has), err
	}
	return m.inspect(sys)
}

// loadFiles finds and digests the data files of all units. All errors are returned
// together.
func (m *maker) loadFiles(sys *ir.System) error {
	var paths []string
	var err error
	if m.files, paths, err = dataFiles(m.in.Dir, sys); err != nil {
		return m.explainFiles(sys, err)
	}
	m.sources.Files = map[string]string{}
	if len(paths) == 0 {
		return nil
	}
	m.sources.Files, err = m.in.Digests.Digest(m.ctx, m.in.Dir, paths)
	return err
}

// dataFiles finds the data files of all units, by unit and together. Both are sorted.
func dataFiles(dir string, sys *ir.System) (byUnit map[string][]string, paths []string, err error) {
	var patterns []string
	for i := range sys.Units {
		patterns = append(patterns, sys.Units[i].Files...)
	}
	byUnit = map[string][]string{}
	if len(patterns) == 0 {
		return byUnit, nil, nil
	}
	slices.Sort(patterns)
	found, err := Files(dir, slices.Compact(patterns))
	if err != nil {
		return nil, nil, err
	}
	for i := range sys.Units {
		u := &sys.Units[i]
		if len(u.Files) == 0 {
			continue
		}
		var of []string
		for _, p := range u.Files {
			of = append(of, found[p]...)
		}
		slices.Sort(of)
		byUnit[u.ID] = slices.Compact(of)
		paths = append(paths, byUnit[u.ID]...)
	}
	slices.Sort(paths)
	return byUnit, slices.Compact(paths), nil
}

// explainFiles says which units miss files.
func (m *maker) explainFiles(sys *ir.System, err error) error {
	var errs []error
	for _, u := range sys.Units {
		if _, err := Files(m.in.Dir, u.Files); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.ID, err))
		}
	}
	if len(errs) == 0 {
		return err // it existed on the second look
	}
	return errors.Join(errs...)
}

// inspect inspects what is deployed and still declared.
func (m *maker) inspect(sys *ir.System) error {
	m.statuses = map[string]state.Status{}
	if m.in.Inspector == nil {
		return nil
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	slots := make(chan struct{}, inspections)
	for i := range sys.Units {
		kind, unit, handle := sys.Units[i].Kind, sys.Units[i].ID, m.current[sys.Units[i].ID].Handle
		if handle == nil || kind == ir.Job {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			st, err := m.look(kind, *handle)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("inspect %s: %w", unit, err))
			}
			m.statuses[unit] = st
		})
	}
	wg.Wait()
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// busy is how long a running service may take to answer. Replacing a service that is only
// busy would cost more than waiting.
const busy = 5 * time.Second

// look returns the status of a service or record.
func (m *maker) look(kind ir.Kind, h state.Handle) (state.Status, error) {
	for began := time.Now(); ; {
		st, err := m.in.Inspector.Inspect(m.ctx, h)
		if err != nil || kind != ir.Service || st.Phase != state.Running || time.Since(began) > busy {
			return st, err
		}
		select {
		case <-m.ctx.Done():
			return st, context.Cause(m.ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// forced resolves the names in Rerun.
func forced(sys *ir.System, names []string) (map[string]bool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	byName := map[string][]string{}
	for _, u := range sys.Units {
		byName[u.ID] = append(byName[u.ID], u.ID)
		if u.Entity != u.ID {
			byName[u.Entity] = append(byName[u.Entity], u.ID)
		}
	}
	units := map[string]bool{}
	var errs []error
	for _, n := range names {
		if byName[n] == nil {
			errs = append(errs, fmt.Errorf("rerun %s: no such unit or entity%s", n, didYouMean(n, slices.Sorted(maps.Keys(byName)))))
		}
		for _, id := range byName[n] {
			units[id] = true
		}
	}
	return units, errors.Join(errs...)
}

// deletes plans the removal of what is deployed but no longer declared, dependents first.
func (m *maker) deletes(sys *ir.System) ([]Item, error) {
	declared := make(map[string]bool, len(sys.Units))
	for i := range sys.Units {
		declared[sys.Units[i].ID] = true
	}
	var gone []ir.Unit
	for id := range m.current {
		if declared[id] {
			continue
		}
		u, err := m.applied(id)
		if err != nil {
			return nil, err
		}
		if u == nil {
			u = &ir.Unit{}
		}
		g := *u
		g.ID = id // it may have moved since it was applied
		gone = append(gone, g)
	}
	slices.SortFunc(gone, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	for i := range gone {
		// Only edges between removed units count here, and they may be invalid.
		gone[i].Inputs = slices.Clone(gone[i].Inputs)
		for j := range gone[i].Inputs {
			gone[i].Inputs[j].Unit = m.latter(gone[i].Inputs[j].Unit)
		}
		gone[i].Inputs = slices.DeleteFunc(gone[i].Inputs, func(in ir.Input) bool {
			_, found := slices.BinarySearchFunc(gone, in.Unit, func(u ir.Unit, id string) int { return strings.Compare(u.ID, id) })
			return !found
		})
	}
	var items []Item
	for _, i := range slices.Backward(partialOrder(gone)) {
		id := gone[i].ID
		items = append(items, Item{Unit: id, Kind: m.current[id].Kind, Action: Delete, Reasons: []Reason{{What: "no longer declared"}}})
	}
	return items, nil
}

// applied returns the unit as it was applied, or nil if it is not known.
func (m *maker) applied(id string) (*ir.Unit, error) {
	u, err := m.in.State.Unit(m.ctx, m.former(id))
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	return u, err
}
