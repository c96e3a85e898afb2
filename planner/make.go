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

// inspections is how many services are looked at at once.
const inspections = 16

// A State is what the planner reads of the record: [state.Store] has it all.
type State interface {
	Meta(context.Context) (state.Meta, error)
	Current(context.Context) (map[string]state.Current, error)
	Standing(context.Context) (map[string]state.Run, error)
	Estimates(context.Context) (map[string][]time.Duration, error)
	PrepareTimes(context.Context) (map[string]time.Duration, error)
	Unstable(context.Context) (map[string]state.Unstable, error)
	Used(ctx context.Context, definitions map[string]string) (map[string]state.Used, error)
	Unit(ctx context.Context, id string) (*ir.Unit, error)
	Run(ctx context.Context, id int64) (*state.Run, error)
	RunFor(ctx context.Context, unit, key string) (*state.Run, error)
	Artifact(ctx context.Context, digest string) (artifact.Artifact, error)
	Incumbent(ctx context.Context, model, candidate string, there func(digest string) bool) (*state.ModelVersion, error)
}

// Artifacts tells which artifacts are still there.
type Artifacts interface {
	Has(digest string) bool
}

// An Inspector tells how something that an executor started stands. Absence is
// a status, not an error.
type Inspector interface {
	Inspect(ctx context.Context, h state.Handle) (state.Status, error)
}

// Digests digests data files: paths as [Files] returns them, relative to dir or
// absolute.
type Digests interface {
	Digest(ctx context.Context, dir string, paths []string) (map[string]string, error)
}

// Inputs is what a plan is made from, beside the system.
type Inputs struct {
	Dir       string            // the system's folder, absolute
	Blobs     map[string][]byte // code and locks, by digest
	State     State
	Artifacts Artifacts
	Digests   Digests
	// Inspector looks at the services that stand. Without it they are taken to
	// stand as recorded.
	Inspector Inspector
	// Preparer tells what has to be made before units can start. Without it nothing is.
	Preparer Preparer
	// Written tells why what was written for a record is not there any more as it
	// was, or "". Without it records are taken to be as they were written.
	Written func(u *ir.Unit) string
	// Images are the references of images by digest, see [Plan].
	Images map[string]string
	Options
}

// Options are what the user may ask for.
type Options struct {
	// Rerun names units or entities that are run even if nothing changed.
	Rerun []string
	// Now is the time the plan is made at; zero is now.
	Now time.Time
}

// Make makes the plan that brings what stands to what sys says.
func Make(ctx context.Context, sys *ir.System, in Inputs) (*Plan, error) {
	m := newMaker(ctx, in)
	// The serial is read before all else: if the state moves while it is read,
	// the plan is of an older serial and will be refused, never wrongly taken.
	meta, err := in.State.Meta(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	order, err := sort(sys.Units)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if m.forced, err = forced(sys, in.Rerun); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	// Nothing waits for what units used until all is decided.
	var used map[string]state.Used
	var usedErr error
	var wg sync.WaitGroup
	wg.Go(func() { used, usedErr = in.State.Used(ctx, asking(sys)) })
	defer wg.Wait()
	if err := m.load(sys); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p := m.plan(sys, meta)
	for _, i := range order {
		u := &sys.Units[i]
		item, err := m.decide(u)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", u.ID, err)
		}
		p.Items = append(p.Items, item)
	}
	gone, err := m.deletes(sys)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.Items = append(p.Items, gone...)
	if wg.Wait(); usedErr != nil {
		return nil, fmt.Errorf("plan: %w", usedErr)
	}
	p.advise(used)
	return p, m.estimate(p)
}

// A maker makes one plan.
type maker struct {
	ctx      context.Context
	in       Inputs
	forced   map[string]bool
	target   string // its executor
	entities map[string]*ir.Entity
	moves    []ir.Move
	was      map[string]string // the former id of a unit, or entity, that moves
	current  map[string]state.Current
	standing map[string]state.Run
	unstable map[string]state.Unstable
	statuses map[string]state.Status
	files    map[string][]string // of a unit
	sources  Sources

	outputs map[string]map[string]artifact.Artifact // that are known, by unit and port
}

func newMaker(ctx context.Context, in Inputs) *maker {
	if in.Now.IsZero() {
		in.Now = time.Now()
	}
	return &maker{ctx: ctx, in: in, outputs: map[string]map[string]artifact.Artifact{}}
}

func (m *maker) plan(sys *ir.System, meta state.Meta) *Plan {
	return &Plan{
		Version: Version, Created: m.in.Now.UTC(), Dir: m.in.Dir, System: sys, Blobs: m.in.Blobs, Files: m.sources.Files,
		Images: m.in.Images,
		State:  meta, Moves: m.moves, Items: make([]Item, 0, len(sys.Units)),
	}
}

func (m *maker) load(sys *ir.System) error {
	var errs [4]error
	var wg sync.WaitGroup
	wg.Go(func() { m.current, errs[0] = m.in.State.Current(m.ctx) })
	wg.Go(func() { m.standing, errs[1] = m.in.State.Standing(m.ctx) })
	wg.Go(func() { m.unstable, errs[2] = m.in.State.Unstable(m.ctx) })
	wg.Go(func() { errs[3] = m.loadFiles(sys) })
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
	m.sources.Images = m.in.Images
	m.sources.Output = func(unit, port string) string { return m.outputs[unit][port].Digest }
	m.sources.Incumbent = func(model, candidate string) (string, error) {
		v, err := m.in.State.Incumbent(m.ctx, m.former(model), candidate, m.in.Artifacts.Has)
		if err != nil || v == nil {
			return "", err
		}
		return v.Digest, nil
	}
	return m.inspect(sys)
}

// loadFiles finds and digests the data files of all units. All errors come at
// once.
func (m *maker) loadFiles(sys *ir.System) error {
	m.files = map[string][]string{}
	var patterns []string
	for _, u := range sys.Units {
		patterns = append(patterns, u.Files...)
	}
	m.sources.Files = map[string]string{}
	if len(patterns) == 0 {
		return nil
	}
	slices.Sort(patterns)
	found, err := Files(m.in.Dir, slices.Compact(patterns))
	if err != nil {
		return m.explainFiles(sys, err)
	}
	all := map[string]bool{}
	for _, u := range sys.Units {
		for _, p := range u.Files {
			m.files[u.ID] = append(m.files[u.ID], found[p]...)
		}
		slices.Sort(m.files[u.ID])
		m.files[u.ID] = slices.Compact(m.files[u.ID])
		for _, f := range m.files[u.ID] {
			all[f] = true
		}
	}
	m.sources.Files, err = m.in.Digests.Digest(m.ctx, m.in.Dir, slices.Sorted(maps.Keys(all)))
	return err
}

// explainFiles says whose files are missing.
func (m *maker) explainFiles(sys *ir.System, err error) error {
	var errs []error
	for _, u := range sys.Units {
		if _, err := Files(m.in.Dir, u.Files); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.ID, err))
		}
	}
	if len(errs) == 0 {
		return err // it was there when it was looked for again
	}
	return errors.Join(errs...)
}

// inspect looks at what stands and is still declared.
func (m *maker) inspect(sys *ir.System) error {
	m.statuses = map[string]state.Status{}
	if m.in.Inspector == nil {
		return nil
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	slots := make(chan struct{}, inspections)
	for _, u := range sys.Units {
		c, ok := m.current[u.ID]
		if !ok || c.Handle == nil || u.Kind == ir.Job {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			st, err := m.look(u.Kind, *c.Handle)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("inspect %s: %w", c.Unit, err))
			}
			m.statuses[c.Unit] = st
		})
	}
	wg.Wait()
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// busy is how long a service that runs may take to answer: to replace one that is
// only busy would cost more than to wait for it.
const busy = 5 * time.Second

// look asks how something stands.
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

// forced resolves the names given to Rerun.
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
			errs = append(errs, fmt.Errorf("rerun %s: there is no such unit or entity%s", n, didYouMean(n, slices.Sorted(maps.Keys(byName)))))
		}
		for _, id := range byName[n] {
			units[id] = true
		}
	}
	return units, errors.Join(errs...)
}

// deletes plans the end of what stands and is no longer declared, what depends
// on others first.
func (m *maker) deletes(sys *ir.System) ([]Item, error) {
	declared := make(map[string]bool, len(sys.Units))
	for _, u := range sys.Units {
		declared[u.ID] = true
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
		g.ID = id // it may have been moved since it was applied
		gone = append(gone, g)
	}
	slices.SortFunc(gone, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	for i := range gone {
		// Only edges between what goes count here, and they need not be valid.
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
	for _, i := range slices.Backward(walkable(gone)) {
		id := gone[i].ID
		items = append(items, Item{Unit: id, Kind: m.current[id].Kind, Action: Delete, Reasons: []Reason{{What: "no longer declared"}}})
	}
	return items, nil
}

// applied returns the unit as it was applied, or nil if that is not known.
func (m *maker) applied(id string) (*ir.Unit, error) {
	u, err := m.in.State.Unit(m.ctx, m.former(id))
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	return u, err
}
