package process

import (
	"context"
	"fmt"
	"io"

	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
)

// Logs copies the task's output to w. With follow it continues until the task has ended,
// and copies all of it; if ctx is done first, it returns that error.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	ts, err := taskStates.Current(h)
	if err != nil {
		return err
	}
	gone, stop := e.gone(ts)
	defer stop()
	running := func() bool { return follow && ts.look().Phase == state.Running }
	if err := local.Follow(ctx, ts.logPath(), w, running, gone); err != nil {
		return fmt.Errorf("log of %s: %w", ts.Unit, err)
	}
	return nil
}
