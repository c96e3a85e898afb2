package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// spentBy are the ways to group costs.
var spentBy = map[string]func(u planner.Use, at time.Time) string{
	"unit":     func(u planner.Use, _ time.Time) string { return u.Unit },
	"entity":   func(u planner.Use, _ time.Time) string { return u.Entity },
	"stage":    func(u planner.Use, _ time.Time) string { return u.Stage },
	"team":     func(u planner.Use, _ time.Time) string { return orNone(u.Team) },
	"pool":     func(u planner.Use, _ time.Time) string { return orNone(u.Pool) },
	"revision": func(u planner.Use, _ time.Time) string { return "@" + strconv.Itoa(u.Revision) },
	"day":      func(_ planner.Use, at time.Time) string { return at.UTC().Format(time.DateOnly) },
	"model": func(u planner.Use, _ time.Time) string {
		if !strings.HasPrefix(u.Entity, "models/") {
			return ""
		}
		return u.Entity
	},
}

func orNone(name string) string {
	if name == "" {
		return "(none)"
	}
	return name
}

// SpentGroups returns the names of what costs can be grouped by.
func SpentGroups() []string { return slices.Sorted(maps.Keys(spentBy)) }

// Spending is what ran in an environment, and what it cost at the prices of its revisions.
type Spending struct {
	By    string          `json:"by"` // names of groups, separated by commas
	Since time.Time       `json:"since"`
	Until time.Time       `json:"until"`
	Rows  []planner.Spent `json:"rows"`
	Total []planner.Spent `json:"total"` // for each currency
	// PerRequest are services of that time whose requests are not counted, because their number is unknown.
	PerRequest []planner.PerRequest `json:"per_request,omitempty"`
	// Served is what each prediction cost, if that was asked for.
	Served []Served `json:"served,omitempty"`
}

// Spent reports what ran since a time. A job costs from its start to its end, whatever its
// outcome, and a service from the end of the revision that deployed it to the end of the one
// that replaced or removed it. It begins with the oldest revision that gc has left. by is one or
// several of [SpentGroups], separated by commas. If predictions is set, it counts what services
// answered, which reads their logs.
func (w *Workspace) Spent(ctx context.Context, by string, predictions bool, since, until time.Time) (*Spending, error) {
	group, err := groupedBy(by)
	if err != nil {
		return nil, err
	}
	uses, err := w.uses(ctx, until)
	if err != nil {
		return nil, err
	}
	if len(uses) > 0 {
		first := slices.MinFunc(uses, func(a, b planner.Use) int { return a.From.Compare(b.From) }).From
		if first.After(since) {
			since = first
		}
	}
	everything := func(planner.Use, time.Time) string { return "total" }
	s := &Spending{
		By: by, Since: since, Until: until,
		Rows: inGroups(planner.SpentBy(uses, since, until, group)), Total: planner.SpentBy(uses, since, until, everything),
	}
	for _, u := range uses {
		if r := u.PerRequest; r != nil && u.To.After(since) && u.From.Before(until) && !slices.ContainsFunc(s.PerRequest, func(o planner.PerRequest) bool { return o.Unit == r.Unit }) {
			s.PerRequest = append(s.PerRequest, *r)
		}
	}
	if predictions {
		if s.Served, err = w.served(ctx, by, uses, since, until); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// between separates the names of several groups. No name has it.
const between = "\x1f"

// groupedBy returns how uses are named that are grouped by a list of names.
func groupedBy(by string) (func(planner.Use, time.Time) string, error) {
	var groups []func(planner.Use, time.Time) string
	var names []string
	for name := range strings.SplitSeq(by, ",") {
		group, ok := spentBy[name]
		if !ok {
			return nil, &RequestError{fmt.Errorf("costs can be grouped by %s, not by %q", strings.Join(SpentGroups(), ", "), name)}
		}
		if slices.Contains(names, name) {
			return nil, &RequestError{fmt.Errorf("costs are grouped by %s twice", name)}
		}
		names, groups = append(names, name), append(groups, group)
	}
	return func(u planner.Use, at time.Time) string {
		var parts []string
		for _, group := range groups {
			name := group(u, at)
			if name == "" {
				return ""
			}
			parts = append(parts, name)
		}
		return strings.Join(parts, between)
	}, nil
}

// inGroups splits the names of rows that have several groups. Rows with the same first name are
// together, in the order of the first of them.
func inGroups(rows []planner.Spent) []planner.Spent {
	type part struct{ currency, name string }
	first := map[part]int{}
	of := func(r planner.Spent) part { return part{r.Currency, strings.SplitN(r.Name, between, 2)[0]} }
	for i, r := range rows {
		if _, ok := first[of(r)]; !ok {
			first[of(r)] = i
		}
	}
	slices.SortStableFunc(rows, func(a, b planner.Spent) int { return cmp.Compare(first[of(a)], first[of(b)]) })
	for i := range rows {
		if parts := strings.Split(rows[i].Name, between); len(parts) > 1 {
			rows[i].Name, rows[i].Groups = strings.Join(parts, " "), parts
		}
	}
	return rows
}

// uses returns what ran in the environment until now.
func (w *Workspace) uses(ctx context.Context, now time.Time) ([]planner.Use, error) {
	revisions, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return nil, err
	}
	var all []planner.Use
	standing := map[string]planner.Use{}     // services, by unit
	past := map[int]map[string]planner.Use{} // the same, by revision
	for i, r := range slices.Backward(revisions) {
		p, err := w.recordedPlan(ctx, &r)
		if errors.Is(err, artifact.ErrMissing) {
			continue // it was removed by hand
		}
		if err != nil {
			return nil, err
		}
		names := namesSince(r, revisions)
		jobs, services := usesIn(p, r, names)
		runs, err := w.store.RunsOf(ctx, r.Number)
		if err != nil {
			return nil, err
		}
		for _, run := range runs {
			u, ok := jobs[run.Unit]
			if !ok || run.Attempt == 0 {
				continue
			}
			u.From, u.To = run.Started, run.Finished
			if u.To.IsZero() {
				u.To = now
			}
			all = append(all, u)
		}
		if r.Outcome != state.Done {
			continue // what it deployed is recorded by the revision that completes it
		}
		switch r.Act {
		case state.Repair:
			continue // services cost what they did before
		case state.Release:
			services = released(p, standing, past[r.BackTo], names)
		}
		until := now
		if next := nextDone(revisions[:i]); next != nil {
			until = next.Finished
		}
		for unit, u := range services {
			if before, ok := standing[unit]; ok && before.Rate == u.Rate && before.Currency == u.Currency {
				u.Revision = before.Revision
			}
			if u.Unchanged {
				u.PerRequest = standing[unit].PerRequest
			}
			u.From, u.To = r.Finished, until
			all = append(all, u)
			services[unit] = u
		}
		standing, past[r.Number] = services, services
	}
	return all, nil
}

// released returns what services cost after a step of a release, whose plan has nothing but the
// service that is released: what they did before, or, for a champion that runs alone again, what
// it did in the revision that deployed it.
func released(p *planner.Plan, standing, champions map[string]planner.Use, names map[string]string) map[string]planner.Use {
	services := maps.Clone(standing)
	for _, it := range p.Items {
		name := nameNow(it.Unit, names)
		if u, ok := champions[name]; ok && it.Pinned != nil {
			services[name] = u
		}
	}
	return services
}

// nameNow returns the present name of a unit.
func nameNow(unit string, names map[string]string) string {
	if renamed, ok := names[unit]; ok {
		return renamed
	}
	return unit
}

// nextDone returns the oldest of some revisions, newest first, that is done, or nil. Repairs do not count.
func nextDone(newer []state.Revision) *state.Revision {
	for i := range slices.Backward(newer) {
		if newer[i].Outcome == state.Done && newer[i].Act != state.Repair {
			return &newer[i]
		}
	}
	return nil
}

// usesIn returns what the units of a revision cost, by their present names.
func usesIn(p *planner.Plan, r state.Revision, names map[string]string) (jobs, services map[string]planner.Use) {
	jobs, services = map[string]planner.Use{}, map[string]planner.Use{}
	units := map[string]*ir.Unit{}
	for i := range p.System.Units {
		units[p.System.Units[i].ID] = &p.System.Units[i]
	}
	for _, it := range p.Items {
		u := units[it.Unit]
		if u == nil || it.Action == planner.Delete {
			continue
		}
		name := nameNow(it.Unit, names)
		use := planner.Use{Unit: name, Stage: stage(u), Team: u.Team, Pool: u.Pool, Revision: r.Number, Rate: it.Rate}
		use.Entity, _ = ir.SplitID(name)
		if p.Pricing != nil {
			use.Currency = p.Pricing.Currency
		}
		switch u.Kind {
		case ir.Job:
			use.Job = true
			jobs[name] = use
		case ir.Service:
			use.Models, use.Uncounted, use.Unchanged = modelsOf(u), uncountedIn(u, name), !it.Action.Changes()
			if at := slices.IndexFunc(p.PerRequest, func(r planner.PerRequest) bool { return r.Unit == it.Unit }); at >= 0 {
				r := p.PerRequest[at]
				r.Unit, use.PerRequest = name, &r
			}
			services[name] = use
		}
	}
	return jobs, services
}

// stage is the package of a unit's component: "train" for train.sklearn.
func stage(u *ir.Unit) string {
	of, _, _ := strings.Cut(u.Component, ".")
	return of
}
