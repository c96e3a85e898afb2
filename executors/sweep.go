package executors

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// sweep takes away what killed applies left that no journal tells of: files that
// were half written, and the folders of jobs that were killed between their
// record and the end of what the executor keeps for them. It only costs disk, so
// what cannot be taken away stays without a word.
func (w *walk) sweep(ctx context.Context) {
	if ctx.Err() != nil || w.hold(ctx) != nil {
		return
	}
	// Who has the lease is the only one who writes, so these are of the dead.
	_ = w.o.Artifacts.Sweep()
	_ = w.layout.sweep()
	w.o.Records.sweep()
	for number := w.result.Revision; number > 0; number-- {
		r, err := w.o.Store.Revision(ctx, number)
		if errors.Is(err, state.ErrNotFound) {
			return
		}
		if err != nil {
			w.stop(err)
			return
		}
		if number == w.result.Revision && !w.resumed {
			continue
		}
		if r.Outcome != state.Killed && number != w.result.Revision {
			return // it came to its end, and so did the sweep it began with
		}
		runs, err := w.o.Store.RunsOf(ctx, number)
		if err != nil {
			w.stop(err)
			return
		}
		for _, run := range runs {
			if run.Outcome == state.Done && w.current[w.renamed(run.Unit)].Kind == ir.Job {
				w.sweepDone(ctx, run)
			}
		}
	}
}

// sweepDone ends what the executor still keeps for a job that is recorded.
func (w *walk) sweepDone(ctx context.Context, r state.Run) {
	name := TaskName(r.Unit, r.Key, r.Attempt)
	if exists(w.layout.run(name)) && !exists(filepath.Join(w.layout.run(name), "out")) {
		return // it was swept
	}
	h, err := w.find(ctx, r)
	if err == nil && h != nil {
		err = w.quit(ctx, *h)
	}
	if err == nil {
		_ = w.layout.sweepRun(name)
	}
}
