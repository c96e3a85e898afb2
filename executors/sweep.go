package executors

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// sweep removes what killed applies left without a journal entry: the folders of jobs of
// applies that were killed after the job was recorded, but before the executor removed what it
// keeps for it. These only use disk space, so errors are ignored.
func (w *walk) sweep(ctx context.Context) {
	if ctx.Err() != nil || w.hold(ctx) != nil {
		return
	}
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
			return // it finished, and so did its sweep
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

// sweepPartial removes half-written files, unless an apply of another environment may be
// writing them. Until [walk.leaveFolder], no other apply removes what this one writes.
func (w *walk) sweepPartial() {
	// Without the lock, nothing is swept: this only uses disk space.
	w.folder, _ = files.Share(filepath.Join(w.o.Dir, "applying.lock"), func() {
		_ = w.o.Artifacts.Sweep()
		_ = w.layout.sweep()
		w.o.Records.sweep()
	})
}

// leaveFolder lets others sweep the state folder.
func (w *walk) leaveFolder() {
	if w.folder != nil {
		w.folder.Close()
	}
}

// sweepDone ends what the executor still keeps for a recorded job.
func (w *walk) sweepDone(ctx context.Context, r state.Run) {
	name := taskOf(r)
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
