package project

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// comparedVersion is the version of the JSON document.
const comparedVersion = 1

// A Compared is how two revisions of a unit or an entity differ: in their metrics, and in
// what they were made from.
type Compared struct {
	Version int            `json:"compare"`
	Name    string         `json:"name"` // in the later of the two, if it was renamed
	Before  *Report        `json:"before"`
	After   *Report        `json:"after"`
	Metrics []MetricChange `json:"metrics"`
	Inputs  []InputChange  `json:"inputs"` // data and artifacts that differ
	// Changes are what differs in the definitions of the unit's entity, and of those that
	// it reads from.
	Changes []planner.EntityChange `json:"changes"`
	// SameRows reports whether both evaluations are of the same test rows; otherwise
	// their metrics differ for that reason too.
	SameRows bool `json:"same_rows"`
}

// A MetricChange is one metric of both. Without a value it is undefined or missing.
type MetricChange struct {
	Unit    string   `json:"unit"`
	Name    string   `json:"name"`
	Before  *float64 `json:"before"`
	After   *float64 `json:"after"`
	Change  *float64 `json:"change"`
	Verdict Verdict  `json:"verdict,omitempty"`
}

// A Verdict says what a change of a metric means. It is empty if that is not known.
type Verdict string

// The verdicts.
const (
	Better Verdict = "better"
	Worse  Verdict = "worse"
	Equal  Verdict = "same"
)

// An InputChange is an input with another content, or that only one of the two has.
type InputChange struct {
	Unit   string `json:"unit"`
	Name   string `json:"name"`
	Before string `json:"before,omitempty"` // digest
	After  string `json:"after,omitempty"`
}

// CompareRevisions compares a unit or an entity as deployed after two revisions. Without
// a name, it is the only model of the system.
func (p *Project) CompareRevisions(ctx context.Context, name, before, after string) (c *Compared, err error) {
	var was, is *snapshot
	err = p.WithApplied(ctx, func(w *Workspace) error {
		if was, err = w.snapshotOf(ctx, before); err != nil {
			return err
		}
		if is, err = w.snapshotOf(ctx, after); err != nil {
			return err
		}
		if name == "" {
			if name, err = onlyModel(is); err != nil {
				return err
			}
		}
		c, err = w.compare(ctx, was, is, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	d, err := p.Diff(ctx, c.Before.At(), c.After.At())
	if err != nil {
		return nil, err
	}
	of := lineageOf(was, c.Before)
	maps.Copy(of, lineageOf(is, c.After))
	c.Changes = slices.DeleteFunc(d.Entities, func(e planner.EntityChange) bool { return !of[e.Entity] && !of[e.Was] })
	return c, nil
}

// onlyModel returns the model of a system that has one.
func onlyModel(s *snapshot) (string, error) {
	switch models := s.models(); len(models) {
	case 0:
		return "", &RequestError{fmt.Errorf("%s has no model: name the unit to compare", s)}
	case 1:
		return models[0], nil
	default:
		return "", &RequestError{fmt.Errorf("%s has several models: name one of %s", s, strings.Join(models, ", "))}
	}
}

func (w *Workspace) compare(ctx context.Context, was, is *snapshot, name string) (*Compared, error) {
	full, _, err := is.named(name)
	if err != nil {
		return nil, err
	}
	former, err := w.formerName(ctx, was, is, full)
	if err != nil {
		return nil, err
	}
	c := &Compared{Version: comparedVersion, Name: full, Metrics: []MetricChange{}, Inputs: []InputChange{}}
	if c.Before, err = w.report(ctx, was, former); err != nil {
		return nil, err
	}
	if c.After, err = w.report(ctx, is, full); err != nil {
		return nil, err
	}
	if err := sameKind(c.Before, c.After); err != nil {
		return nil, err
	}
	c.Metrics = append(c.Metrics, metricChanges(c.Before, c.After)...)
	c.Inputs = append(c.Inputs, inputChanges(was, is, c)...)
	c.SameRows = testRows(c.Before) == testRows(c.After)
	return c, nil
}

// formerName returns the name that an entity or a unit had in an older revision.
func (w *Workspace) formerName(ctx context.Context, was, is *snapshot, name string) (string, error) {
	if _, _, err := was.named(name); err == nil {
		return name, nil
	}
	revisions, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return "", err
	}
	now := func(s *snapshot, name string) string { return renamed(namesSince(*s.revision, revisions), name) }
	for id, u := range was.units {
		for _, then := range []string{id, u.Entity} {
			if now(was, then) == now(is, name) {
				return then, nil
			}
		}
	}
	return name, nil
}

// renamed returns the name that a unit or an entity got. Names of units begin with those
// of their entities.
func renamed(now map[string]string, name string) string {
	if n, ok := now[name]; ok {
		return n
	}
	for then, n := range now {
		if rest, ok := strings.CutPrefix(name, then+"/"); ok {
			return n + "/" + rest
		}
	}
	for then, n := range now { // an entity is renamed with its units
		e, stage := ir.SplitID(then)
		if to, toStage := ir.SplitID(n); e == name && stage == toStage {
			return to
		}
	}
	return name
}

// sameKind returns an error if the two are of different kinds.
func sameKind(before, after *Report) error {
	if len(before.Units) == 1 && len(after.Units) == 1 {
		if b, a := before.Units[0], after.Units[0]; b.Kind != a.Kind {
			return fmt.Errorf("%s is a %s in %s, but a %s in %s: they cannot be compared", after.Name, b.Kind, before.At(), a.Kind, after.At())
		}
	}
	b, a := before.task(), after.task()
	if b != "" && a != "" && b != a {
		return fmt.Errorf("%s is a %s in %s, but a %s in %s: they cannot be compared", after.Name, b, before.At(), a, after.At())
	}
	return nil
}

// has reports whether the report is also about a unit.
func (r *Report) has(unit string) bool {
	return slices.ContainsFunc(r.Units, func(u *UnitReport) bool { return u.Unit == unit })
}

// task returns the task of the evaluation, or "".
func (r *Report) task() string {
	if u := r.Evaluated(); u != nil && u.Evaluation.Details != nil {
		return u.Evaluation.Details.Task
	}
	return ""
}

// counterpart returns the unit of another report that has the same stage, or nil.
func (r *Report) counterpart(of string) *UnitReport {
	_, stage := ir.SplitID(of)
	for _, u := range r.Units {
		if _, s := ir.SplitID(u.Unit); s == stage {
			return u
		}
	}
	return nil
}

// metricChanges lists the metrics of both, those of an evaluation first.
func metricChanges(before, after *Report) []MetricChange {
	var all []MetricChange
	units := slices.Clone(after.Units)
	slices.SortStableFunc(units, func(a, b *UnitReport) int {
		switch {
		case (a.Evaluation == nil) == (b.Evaluation == nil):
			return 0
		case a.Evaluation != nil:
			return -1
		}
		return 1
	})
	for _, a := range units {
		b := before.counterpart(a.Unit)
		if b == nil || a.Kind == ir.Record && len(after.Units) > 1 { // records repeat the metrics of others
			continue
		}
		old, now := b.figures(), a.figures()
		higher := map[string]bool{}
		if a.Evaluation != nil {
			maps.Copy(higher, a.Evaluation.HigherIsBetter)
		}
		if b.Evaluation != nil {
			maps.Copy(higher, b.Evaluation.HigherIsBetter)
		}
		names := maps.Clone(old)
		maps.Copy(names, now)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			m := MetricChange{Unit: a.Unit, Name: name, Before: old[name], After: now[name]}
			if m.Before != nil && m.After != nil {
				change := *m.After - *m.Before
				m.Change = &change
				up, known := higher[name]
				switch {
				case change == 0:
					m.Verdict = Equal
				case known && (change > 0) == up:
					m.Verdict = Better
				case known:
					m.Verdict = Worse
				}
			}
			all = append(all, m)
		}
	}
	return all
}

// figures are the metrics of the evaluation, or those of the run.
func (u *UnitReport) figures() map[string]*float64 {
	if u.Evaluation != nil && len(u.Evaluation.Metrics) > 0 {
		return u.Evaluation.Metrics
	}
	all := make(map[string]*float64, len(u.Metrics))
	for name, v := range u.Metrics {
		all[name] = &v
	}
	return all
}

// testRows returns the digest of the rows that the evaluation was made on, or "".
func testRows(r *Report) string {
	u := r.Evaluated()
	if u == nil {
		return ""
	}
	for _, in := range u.Inputs {
		if in.Name == "test" {
			return in.Digest
		}
	}
	return ""
}

// inputChanges lists the data files of the units behind both reports, and what the units
// themselves read from others, as far as it differs.
func inputChanges(was, is *snapshot, c *Compared) []InputChange {
	changes := map[[2]string]*InputChange{}
	former, _ := ir.SplitID(c.Before.Name)
	latter, _ := ir.SplitID(c.After.Name)
	note := func(s *snapshot, r *Report, set func(*InputChange, string)) {
		of := lineageOf(s, r)
		for id, run := range s.runs {
			u := s.units[id]
			if u == nil || !of[u.Entity] {
				continue
			}
			itself := r.has(id)
			for in, digest := range run.Inputs {
				path, file := strings.CutPrefix(in, "file:")
				if !file && !(itself && slices.ContainsFunc(u.Inputs, func(i ir.Input) bool { return i.Port == in && !i.Incumbent && !r.has(i.Unit) })) {
					continue
				}
				unit := id
				if stage, ok := strings.CutPrefix(id, former); ok && u.Entity == former {
					unit = latter + stage
				}
				key := [2]string{unit, path}
				if changes[key] == nil {
					changes[key] = &InputChange{Unit: unit, Name: path}
				}
				set(changes[key], digest)
			}
		}
	}
	note(was, c.Before, func(i *InputChange, d string) { i.Before = d })
	note(is, c.After, func(i *InputChange, d string) { i.After = d })
	var out []InputChange
	for _, i := range changes {
		if i.Before != i.After {
			out = append(out, *i)
		}
	}
	var units []ir.Unit
	for _, u := range is.units {
		units = append(units, *u)
	}
	order := Order(units)
	slices.SortFunc(out, func(a, b InputChange) int { return cmp.Or(order(a.Unit, b.Unit), cmp.Compare(a.Name, b.Name)) })
	return out
}

// lineageOf returns the entities of the units of a report, and of all that they read from.
func lineageOf(s *snapshot, r *Report) map[string]bool {
	entities, seen := map[string]bool{}, map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		u := s.units[id]
		if u == nil || seen[id] {
			return
		}
		seen[id] = true
		entities[u.Entity] = true
		for _, in := range u.Inputs {
			if !in.Incumbent {
				visit(in.Unit)
			}
		}
	}
	for _, u := range r.Units {
		visit(u.Unit)
	}
	return entities
}
