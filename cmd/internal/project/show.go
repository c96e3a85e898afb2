package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/records"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Unit is everything that is known about a deployed unit.
type Unit struct {
	Unit      *ir.Unit          `json:"unit"`
	Entity    *ir.Entity        `json:"entity,omitempty"` // the entity of the unit, as declared
	Run       *state.Run        `json:"run,omitempty"`
	Status    *UnitStatus       `json:"status,omitempty"`
	Unstable  *state.Unstable   `json:"unstable,omitempty"`
	Artifacts map[string]string `json:"artifacts,omitempty"` // paths, by port
	Rules     string            `json:"rules,omitempty"`     // path of its rule file, for Prometheus
	Lineage   *Lineage          `json:"lineage"`
	Runs      []state.Run       `json:"runs,omitempty"`
}

// A Lineage is a unit with its origins.
type Lineage struct {
	Unit   string            `json:"unit"`
	Digest string            `json:"digest,omitempty"`
	Files  map[string]string `json:"files,omitempty"`
	From   []*Lineage        `json:"from,omitempty"`
}

// A Preview is the beginning of a table.
type Preview struct {
	Port    string
	Columns []string
	Rows    [][]string
	Total   int64 // rows of the whole table
}

// Units returns a unit, or all units of an entity. A dot may replace a slash, as in the
// language.
func (w *Workspace) Units(ctx context.Context, name string) ([]*Unit, error) {
	names, err := w.unitsNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	var all []*Unit
	for _, n := range names {
		u, err := w.unit(ctx, n)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, w.declare(ctx, all)
}

func (w *Workspace) unitsNamed(ctx context.Context, name string) ([]string, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range []string{name, unitName(name)} {
		if _, ok := current[n]; ok {
			return []string{n}, nil
		}
		var units []string
		for u := range current {
			if strings.HasPrefix(u, n+"/") {
				units = append(units, u)
			}
		}
		if len(units) > 0 {
			order, err := w.order(ctx)
			if err != nil {
				return nil, err
			}
			slices.SortFunc(units, order)
			return units, nil
		}
	}
	if runs, err := w.store.Runs(ctx, name, 1); err == nil && len(runs) > 0 {
		return nil, fmt.Errorf("%s is not deployed: its last run %s; see tenon logs %s", name, runs[0].Outcome, name)
	}
	return nil, w.unknownUnit(ctx, name)
}

func (w *Workspace) unit(ctx context.Context, id string) (*Unit, error) {
	u, err := w.store.Unit(ctx, id)
	if err != nil {
		return nil, err
	}
	runs, err := w.currentRuns(ctx)
	if err != nil {
		return nil, err
	}
	s := &Unit{Unit: u, Artifacts: map[string]string{}, Rules: records.RulesPath(w.dir, u)}
	if run, ok := runs[id]; ok {
		s.Run = &run
		for port, art := range run.Outputs {
			s.Artifacts[port] = w.artifacts.Path(art.Digest)
		}
	}
	statuses, err := w.unitStatuses(ctx)
	if err != nil {
		return nil, err
	}
	for i := range statuses {
		if statuses[i].Unit == id {
			s.Status = &statuses[i]
		}
	}
	unstable, err := w.store.Unstable(ctx)
	if err != nil {
		return nil, err
	}
	if mark, ok := unstable[id]; ok && mark.Definition == u.Digest {
		s.Unstable = &mark
	}
	stored := func(id string) (*ir.Unit, error) { return w.store.Unit(ctx, id) }
	if s.Lineage, err = madeFrom(stored, runs, id, map[string]*Lineage{}); err != nil {
		return nil, err
	}
	s.Runs, err = w.store.Runs(ctx, id, 10)
	return s, err
}

// currentRuns returns the runs behind what is deployed, by unit.
func (w *Workspace) currentRuns(ctx context.Context) (map[string]state.Run, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	runs := map[string]state.Run{}
	for id, c := range current {
		run, err := w.store.Run(ctx, c.Run)
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		runs[id] = *run
	}
	return runs, nil
}

// madeFrom returns a unit with its origins, given the units and the runs behind them.
func madeFrom(unit func(id string) (*ir.Unit, error), runs map[string]state.Run, id string, seen map[string]*Lineage) (*Lineage, error) {
	if l, ok := seen[id]; ok {
		return l, nil
	}
	l := &Lineage{Unit: id, Files: map[string]string{}}
	seen[id] = l
	u, err := unit(id)
	if err != nil || u == nil {
		return l, err
	}
	run := runs[id]
	for _, port := range slices.Sorted(maps.Keys(run.Outputs)) {
		l.Digest = run.Outputs[port].Digest
		break
	}
	for in, digest := range run.Inputs {
		if path, ok := strings.CutPrefix(in, "file:"); ok {
			l.Files[path] = digest
		}
	}
	for _, in := range u.Inputs {
		if in.Incumbent || slices.ContainsFunc(l.From, func(f *Lineage) bool { return f.Unit == in.Unit }) {
			continue
		}
		from, err := madeFrom(unit, runs, in.Unit, seen)
		if err != nil {
			return nil, err
		}
		l.From = append(l.From, from)
	}
	return l, nil
}

// Preview reads the first n rows of the tables of a unit.
func (w *Workspace) Preview(ctx context.Context, u *Unit, n int) ([]Preview, error) {
	if n <= 0 || u.Run == nil {
		return nil, nil
	}
	var all []Preview
	for _, port := range slices.Sorted(maps.Keys(u.Artifacts)) {
		if u.Run.Outputs[port].Kind != string(ir.Table) {
			continue
		}
		p, err := w.preview(ctx, u, port, n)
		if err != nil {
			return nil, fmt.Errorf("read the table %s of %s: %w", port, u.Unit.ID, err)
		}
		all = append(all, p)
	}
	return all, nil
}

func (w *Workspace) preview(ctx context.Context, u *Unit, port string, n int) (Preview, error) {
	if err := w.artifacts.Fetch(ctx, u.Run.Outputs[port].Digest); err != nil {
		return Preview{}, err
	}
	p, err := w.set.SQL.Preview(ctx, u.Artifacts[port], n)
	return Preview{port, p.Columns, p.Rows, p.Total}, err
}

// A RevisionDetail is a revision with the documents behind it.
type RevisionDetail struct {
	Revision
	IR   json.RawMessage `json:"system_ir"`
	Plan json.RawMessage `json:"system_plan"`
}

// RevisionDetail returns the revision with a name such as "@3"; "@" is the newest. If
// documents is false, it omits them, and lists the units in the order for people.
func (w *Workspace) RevisionDetail(ctx context.Context, name string, documents bool) (*RevisionDetail, error) {
	r, err := w.revisionNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	revisions, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return nil, err
	}
	d := &RevisionDetail{}
	if d.Revision, err = w.outcomes(ctx, *r, revisions); err != nil {
		return d, err
	}
	if !documents {
		var units []ir.Unit
		if sys, err := w.system(ctx, r); err == nil { // otherwise it was removed, or is of another version
			units = sys.Units
		}
		order := Order(units)
		slices.SortStableFunc(d.Units, func(a, b Outcome) int { return order(a.Unit, b.Unit) })
		return d, nil
	}
	if err := w.recorded(ctx, r, "IR", r.IR, &d.IR); err != nil {
		return nil, err
	}
	return d, w.recorded(ctx, r, "plan", r.Plan, &d.Plan)
}
