package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

// Logs copies to w what the task has printed. With follow it goes on until the
// task has ended, and gives all of it; if ctx is done first, that is the error.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	r, err := current(h)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(r.Dir, "log"))
	if err != nil {
		return fmt.Errorf("log of %s: %w", r.Unit, err)
	}
	defer f.Close()
	gone, stop := e.gone(r)
	defer stop()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		// Asked before the copy: what is printed before the end is then copied.
		ended := !follow || r.look().Phase != state.Running
		n, err := io.Copy(w, f)
		if err != nil {
			return fmt.Errorf("log of %s: %w", r.Unit, err)
		}
		if ended {
			return nil
		}
		if n > 0 {
			wait = time.Millisecond
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("log of %s", r.Unit), ctx.Err())
		case <-gone:
			gone = nil
		case <-time.After(wait):
		}
	}
}
