package components

import (
	"context"
	"errors"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// featureSQL runs a query over the inputs, each known by its port.
func featureSQL(ctx context.Context, s *step.Step) error {
	var p struct {
		SQL string `json:"sql"`
	}
	if err := params(s, &p); err != nil {
		return err
	}
	out, err := output(s, "out")
	if err != nil {
		return err
	}
	inputs := map[string]string{}
	for name, in := range s.Inputs {
		inputs[name] = in.Path
	}
	return engine.Query(ctx, p.SQL, inputs, duck.Table{Path: out.Path, Schema: out.Schema, OrderBy: builtin.Order(out.Keys, out.Timestamp)}, limits(s))
}

func splitRandom(ctx context.Context, s *step.Step) error {
	var p struct {
		Fraction float64 `json:"fraction"`
		Stratify string  `json:"stratify"`
	}
	if err := params(s, &p); err != nil {
		return err
	}
	return split(ctx, s, engine.Division{Test: p.Fraction, Stratify: p.Stratify})
}

func splitByTime(ctx context.Context, s *step.Step) error {
	var p struct {
		Column string `json:"column"`
		After  string `json:"after"`
	}
	if err := params(s, &p); err != nil {
		return err
	}
	if p.Column == "" || p.After == "" {
		return errors.New("split.by_time needs a column and a time after which the test begins")
	}
	return split(ctx, s, engine.Division{Time: p.Column, After: p.After})
}

func splitByGroup(ctx context.Context, s *step.Step) error {
	var p struct {
		Column   string  `json:"column"`
		Fraction float64 `json:"fraction"`
	}
	if err := params(s, &p); err != nil {
		return err
	}
	if p.Column == "" {
		return errors.New("split.by_group needs a column")
	}
	return split(ctx, s, engine.Division{Group: p.Column, Test: p.Fraction})
}

func split(ctx context.Context, s *step.Step, d engine.Division) error {
	table, err := input(s, "table")
	if err != nil {
		return err
	}
	train, err := output(s, "train")
	if err != nil {
		return err
	}
	test, err := output(s, "test")
	if err != nil {
		return err
	}
	d.Seed = s.Seed
	d.Keys = table.Keys
	return engine.Split(ctx, table.Path, d, train.Path, test.Path, limits(s))
}
