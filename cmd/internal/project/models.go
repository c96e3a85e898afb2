package project

import (
	"context"

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
	deployed, err := w.store.CurrentRuns(ctx)
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
			current := deployed[v.Model+"/register"].Outputs["model"].Digest == v.Digest
			models = append(models, Model{v, current})
		}
	}
	return models, nil
}
