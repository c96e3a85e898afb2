package records

import (
	"context"
	"errors"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// registry registers the model that the record reads, with the metrics of the report that
// it reads, and passes the model on. Other inputs are only waited for.
type registry struct{ to Registry }

func (r registry) Write(ctx context.Context, rec executors.Record) (map[string]artifact.Artifact, map[string]float64, error) {
	i := slices.IndexFunc(rec.Unit.Inputs, func(in ir.Input) bool { return in.Kind == ir.Model && !in.Incumbent })
	if i < 0 {
		return nil, nil, errors.New("it has no input that is a model")
	}
	model, ok := rec.Inputs[rec.Unit.Inputs[i].Port]
	if !ok {
		return nil, nil, errors.New("the model that it reads is missing")
	}
	if _, err := r.to.Register(ctx, state.ModelVersion{
		Model: rec.Unit.Entity, Digest: model.Digest, Key: model.Key, Metrics: rec.Metrics, Created: rec.Now,
	}); err != nil {
		return nil, nil, executors.StateFailed(err)
	}
	return map[string]artifact.Artifact{rec.Unit.Outputs[0].Port: model.Artifact}, rec.Metrics, nil
}

// Lost is never so: the registry is part of the state.
func (registry) Lost(*ir.Unit) string { return "" }

// Remove leaves the version as history.
func (registry) Remove(*ir.Unit, []ir.Unit) error { return nil }
