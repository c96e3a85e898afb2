package records

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// stated keeps as an artifact what a monitor is to measure or a loop is to do. Measurements and acts
// are not part of an apply.
type stated struct{ artifacts *artifact.Store }

func (m stated) Write(ctx context.Context, rec executors.Record) (map[string]artifact.Artifact, map[string]float64, error) {
	u := rec.Unit
	var what any
	switch {
	case u.Monitor != nil:
		what = u.Monitor
	case u.Loop != nil:
		what = u.Loop
	default:
		return nil, nil, errors.New("it does not say what it is about")
	}
	b, err := json.Marshal(what)
	if err != nil {
		return nil, nil, err
	}
	digest, err := m.artifacts.PutBytes(ctx, b)
	if err != nil {
		return nil, nil, err
	}
	return map[string]artifact.Artifact{u.Outputs[0].Port: {Digest: digest, Kind: string(u.Outputs[0].Kind), Size: int64(len(b))}}, nil, nil
}

// Lost implements [executors.Recorder]: what is in the state alone cannot be lost apart from it.
func (stated) Lost(*ir.Unit) string { return "" }

func (stated) Remove(*ir.Unit, []ir.Unit) error { return nil }
