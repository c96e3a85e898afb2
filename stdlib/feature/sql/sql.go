// Package sql computes a table by a query.
package sql

import (
	"context"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Run runs the query over the inputs, each known by its port.
func Run(ctx context.Context, s *step.Step) error {
	var p struct {
		SQL string `json:"sql"`
	}
	if err := builtin.Params(s, &p); err != nil {
		return err
	}
	out, err := builtin.Output(s, "out")
	if err != nil {
		return err
	}
	inputs := map[string]string{}
	for name, in := range s.Inputs {
		inputs[name] = in.Path
	}
	return engine.Query(ctx, p.SQL, inputs, duck.Table{Path: out.Path, Schema: out.Schema, OrderBy: step.RowOrder(out.Keys, out.Timestamp)}, builtin.Limits(s))
}
