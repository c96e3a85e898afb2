// Package by_time tests on the newest rows.
package by_time

import (
	"context"
	"errors"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Run puts the rows at or after a point in time into the test.
func Run(ctx context.Context, s *step.Step) error {
	var p struct {
		Column string `json:"column"`
		After  string `json:"after"`
	}
	if err := builtin.Params(s, &p); err != nil {
		return err
	}
	if p.Column == "" || p.After == "" {
		return errors.New("split.by_time needs a column and a start time of the test part")
	}
	return builtin.Split(ctx, s, engine.Division{Time: p.Column, After: p.After})
}
