package executors

import (
	"context"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// Mend makes services and records again that died or were lost, as a revision of its own. The plan,
// of [planner.PlanMend], has nothing but these. What a killed apply left of other units stays, so
// that the next apply adopts it. A rollback cannot restore the revision, because it deploys nothing
// that was not deployed before.
func Mend(ctx context.Context, p *planner.Plan, o Options) (*Result, error) {
	o.act = state.Repair
	return Apply(ctx, p, o)
}

// Refresh executes a plan that reads data again and deploys nothing. A rollback passes over its
// revision.
func Refresh(ctx context.Context, p *planner.Plan, o Options) (*Result, error) {
	o.act = state.Refresh
	return Apply(ctx, p, o)
}

// partial reports whether the plan has only some units of the system: all others stay as they are.
func (w *walk) partial() bool { return w.o.act == state.Release || w.o.act == state.Repair }
