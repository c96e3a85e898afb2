// Package by_group tests on whole groups of rows.
package by_group

import (
	"context"
	"errors"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Run puts all rows of a fraction of the groups into the test.
func Run(ctx context.Context, s *step.Step) error {
	var p struct {
		Column   string  `json:"column"`
		Fraction float64 `json:"fraction"`
	}
	if err := builtin.Params(s, &p); err != nil {
		return err
	}
	if p.Column == "" {
		return errors.New("split.by_group needs a column")
	}
	return builtin.Split(ctx, s, engine.Division{Group: p.Column, Test: p.Fraction})
}
