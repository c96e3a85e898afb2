package project

import (
	"context"

	"github.com/tenon-ml/tenon/compiler/ir"
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
