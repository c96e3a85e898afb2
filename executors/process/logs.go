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
	r, err := records.Current(h)
	if err != nil {
		return err
	}
	gone, stop := e.gone(r)
	defer stop()
	running := func() bool { return follow && r.look().Phase == state.Running }
	if err := local.Follow(ctx, r.logPath(), w, running, gone); err != nil {
		return fmt.Errorf("log of %s: %w", r.Unit, err)
	}
	return nil
}
