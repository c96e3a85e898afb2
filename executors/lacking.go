package executors

import (
	"context"
	"errors"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// A LackingError is a failure because the platform lacks capacity, or because a quota of the account is too
// small. On another target the unit may run.
type LackingError struct{ Err error }

func (e *LackingError) Error() string { return e.Err.Error() }

func (e *LackingError) Unwrap() error { return e.Err }

// Lacking returns the first failure of an apply because of capacity or a quota, or nil. err is what the apply
// returned, and result may be nil.
func Lacking(result *Result, err error) error {
	var lacks *LackingError
	if result != nil {
		for _, f := range result.Failed {
			if errors.As(f, &lacks) {
				return f
			}
		}
	}
	if errors.As(err, &lacks) {
		return lacks
	}
	return nil
}

// Admit asks the platform whether its limits allow what a plan runs. Without an error, asked reports whether
// the executor knows limits that concern one of the units. A limit that is too small is a [LackingError].
func Admit(ctx context.Context, p *planner.Plan, x Executor) (asked bool, err error) {
	a, ok := x.(Admitter)
	if !ok {
		return false, nil
	}
	var units []ir.Unit
	for _, i := range p.Items {
		if u := p.Unit(&i); u != nil && i.Action.Changes() && i.Action != planner.Delete {
			units = append(units, *u)
		}
	}
	return a.Admit(ctx, units)
}
