package project

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A DiffOfEnvironments is how two environments of a system differ.
type DiffOfEnvironments struct {
	Before     string          `json:"before"`
	After      string          `json:"after"`
	Written    *Diff           `json:"written"`            // the sources, compiled for each
	Deployed   *Diff           `json:"deployed,omitempty"` // nil if nothing was applied in one of them
	NotApplied []string        `json:"not_applied,omitempty"`
	Revisions  map[string]int  `json:"revisions,omitempty"` // the newest of each
	Results    []ResultsDiffer `json:"results,omitempty"`
	Models     []ModelsDiffer  `json:"models,omitempty"`
}

// Same reports whether nothing differs.
func (d *DiffOfEnvironments) Same() bool {
	return d.Written.Same() && len(d.NotApplied) == 0 && d.Deployed.Same() && len(d.Results) == 0 && len(d.Models) == 0
}

// ResultsDiffer is a job with the same definition in both environments, and other results.
type ResultsDiffer struct {
	Unit string   `json:"unit"`
	Why  []string `json:"why"` // inputs that differ: "data/flights.csv", "features/shapes/build", or nothing
}

// ModelsDiffer is a model that has another version in service. Version 0 is none.
type ModelsDiffer struct {
	Model  string `json:"model"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

// DiffEnvironments compares two environments: what the sources declare for them, and what is
// deployed in them.
func (p *Project) DiffEnvironments(ctx context.Context, before, after string) (*DiffOfEnvironments, error) {
	d := &DiffOfEnvironments{Before: before, After: after, Written: &Diff{Version: diffVersion}, Revisions: map[string]int{}}
	for env, v := range map[string]*Version{before: &d.Written.Before, after: &d.Written.After} {
		r, err := p.inEnv(env).Compile(ctx)
		if err != nil {
			return nil, err
		}
		*v = Version{Kind: "environment", Name: env, System: r.System.Name, side: planner.Side{System: r.System, Blobs: r.Blobs}}
	}
	times, err := p.times(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.compared(ctx, d.Written, times); err != nil {
		return nil, err
	}
	there, err := p.hasState(ctx)
	if err != nil || !there {
		d.NotApplied = []string{before, after}
		return d, err
	}
	w, err := p.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return d, w.diffDeployed(ctx, d, times)
}

func (p *Project) compared(ctx context.Context, d *Diff, times map[string][]time.Duration) (err error) {
	if d.Comparison, err = planner.Compare(ctx, d.Before.side, d.After.side, times); err != nil {
		return err
	}
	d.Columns, err = p.columnChanges(ctx, d.Before.side.System, d.After.side.System, d.Comparison)
	return err
}

// diffDeployed adds what differs in what is deployed.
func (w *Workspace) diffDeployed(ctx context.Context, d *DiffOfEnvironments, times map[string][]time.Duration) error {
	for _, env := range []string{d.Before, d.After} {
		last, err := w.store.In(env).Revisions(ctx, 1)
		if err != nil {
			return err
		}
		if len(last) == 0 {
			d.NotApplied = append(d.NotApplied, env)
		} else {
			d.Revisions[env] = last[0].Number
		}
	}
	if len(d.NotApplied) > 0 {
		return nil
	}
	d.Deployed = &Diff{Version: diffVersion}
	for env, v := range map[string]*Version{d.Before: &d.Deployed.Before, d.After: &d.Deployed.After} {
		var err error
		if *v, err = w.in(env).deployedIn(ctx); err != nil {
			return err
		}
		v.Name = fmt.Sprintf("%s@%d", env, d.Revisions[env])
	}
	if err := w.compared(ctx, d.Deployed, times); err != nil {
		return err
	}
	one, other := w.store.In(d.Before), w.store.In(d.After)
	if err := diffResults(ctx, one, other, d); err != nil {
		return err
	}
	return diffModels(ctx, one, other, d)
}

// diffResults finds jobs that are the same and have other results.
func diffResults(ctx context.Context, one, other *state.Store, d *DiffOfEnvironments) error {
	before, err := one.Current(ctx)
	if err != nil {
		return err
	}
	after, err := other.Current(ctx)
	if err != nil {
		return err
	}
	for _, unit := range slices.Sorted(maps.Keys(before)) {
		a, b := before[unit], after[unit]
		if a.Kind != ir.Job || b.Definition != a.Definition || a.Run == b.Run {
			continue
		}
		was, err := one.Run(ctx, a.Run)
		if err != nil {
			return err
		}
		now, err := one.Run(ctx, b.Run)
		if err != nil {
			return err
		}
		found := ResultsDiffer{Unit: unit, Why: []string{}}
		same := true
		for port, x := range was.Outputs {
			same = same && now.Outputs[port].Digest == x.Digest
		}
		if same {
			continue
		}
		for name, digest := range was.Inputs {
			if now.Inputs[name] != digest {
				found.Why = append(found.Why, strings.TrimPrefix(name, "file:"))
			}
		}
		for name := range now.Inputs {
			if _, ok := was.Inputs[name]; !ok {
				found.Why = append(found.Why, strings.TrimPrefix(name, "file:"))
			}
		}
		slices.Sort(found.Why)
		d.Results = append(d.Results, found)
	}
	return nil
}

// diffModels finds models with another version in service.
func diffModels(ctx context.Context, one, other *state.Store, d *DiffOfEnvironments) error {
	versions := map[string][2]int{}
	for i, s := range []*state.Store{one, other} {
		models, err := s.Models(ctx)
		if err != nil {
			return err
		}
		for _, m := range models {
			v := versions[m.Model]
			v[i] = m.Version
			versions[m.Model] = v
		}
	}
	for _, model := range slices.Sorted(maps.Keys(versions)) {
		if v := versions[model]; v[0] != v[1] {
			d.Models = append(d.Models, ModelsDiffer{model, v[0], v[1]})
		}
	}
	return nil
}
