package project

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Model is a version of a registered model.
type Model struct {
	state.ModelVersion
	Current bool `json:"-"` // it is deployed
}

// Models returns every version of every registered model, newest first.
func (w *Workspace) Models(ctx context.Context) ([]Model, error) {
	newest, err := w.store.Models(ctx)
	if err != nil {
		return nil, err
	}
	registered, err := w.registered(ctx)
	if err != nil {
		return nil, err
	}
	models := []Model{}
	for _, m := range newest {
		versions, err := w.store.ModelVersions(ctx, m.Model)
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			models = append(models, Model{v, registered[v.Model] == v.Digest})
		}
	}
	return models, nil
}

// IsSystem reports whether a name is that of a folder with a system or a state.
func IsSystem(name string) bool {
	files, _ := filepath.Glob(filepath.Join(name, "*.cue"))
	return len(files) > 0 || exists(filepath.Join(name, ".tenon"))
}

// A ModelDetail is a version of a registered model with where it comes from and goes to.
type ModelDetail struct {
	state.ModelVersion
	Current bool       `json:"current"`       // it is deployed
	Run     *state.Run `json:"run,omitempty"` // that trained it, unless it was removed
	UsedBy  []string   `json:"used_by"`       // deployed units that read it, sorted
}

// Model returns every version of one registered model, newest first. The name is that of
// its entity, with or without the section.
func (w *Workspace) Model(ctx context.Context, name string) ([]ModelDetail, error) {
	if !strings.Contains(name, "/") {
		name = "models/" + name
	}
	versions, err := w.store.ModelVersions(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, w.noModel(ctx, name)
	}
	registered, err := w.registered(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := w.currentRuns(ctx)
	if err != nil {
		return nil, err
	}
	trainer, users := "", map[string][]string{} // by digest
	for id, run := range runs {
		u, err := w.store.Unit(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, in := range u.Inputs {
			switch entity, _ := ir.SplitID(id); {
			case in.Kind != ir.Model || in.Incumbent:
			case entity != name:
				users[run.Inputs[in.Port]] = append(users[run.Inputs[in.Port]], id)
			case u.Kind == ir.Record:
				trainer = in.Unit
			}
		}
	}
	details := make([]ModelDetail, len(versions))
	for i, v := range versions {
		d := ModelDetail{ModelVersion: v, Current: registered[name] == v.Digest, UsedBy: []string{}}
		d.UsedBy = append(d.UsedBy, users[v.Digest]...)
		slices.Sort(d.UsedBy)
		d.UsedBy = slices.Compact(d.UsedBy)
		if d.Run, err = w.store.RunFor(ctx, trainer, v.Key); err != nil && !errors.Is(err, state.ErrNotFound) {
			return nil, err
		}
		details[i] = d
	}
	return details, nil
}

func (w *Workspace) noModel(ctx context.Context, name string) error {
	models, err := w.store.Models(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range models {
		names = append(names, m.Model)
	}
	if hint := diag.DidYouMean(name, names); hint != "" {
		return fmt.Errorf("no model %s is registered: %s", name, hint)
	}
	return fmt.Errorf("no model %s is registered", name)
}

// registered returns the digest of the model that each entity has registered last, as far
// as it is deployed.
func (w *Workspace) registered(ctx context.Context) (map[string]string, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := w.store.CurrentRuns(ctx)
	if err != nil {
		return nil, err
	}
	models := map[string]string{}
	for unit, c := range current {
		for _, a := range runs[unit].Outputs {
			if entity, _ := ir.SplitID(unit); c.Kind == ir.Record && a.Kind == string(ir.Model) {
				models[entity] = a.Digest
			}
		}
	}
	return models, nil
}
