// Package random draws the rows that are tested on.
package random

import (
	"context"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Run puts a fraction of the rows into the test.
func Run(ctx context.Context, s *step.Step) error {
	var p struct {
		Fraction float64 `json:"fraction"`
		Stratify string  `json:"stratify"`
	}
	if err := builtin.Params(s, &p); err != nil {
		return err
	}
	return builtin.Split(ctx, s, engine.Division{Test: p.Fraction, Stratify: p.Stratify})
}
