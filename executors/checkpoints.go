package executors

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// checkpointsFolder is the folder below that of the state with a folder for each key. Environments share it:
// a key means the same in all of them, and only one of them makes its result at a time.
const checkpointsFolder = "checkpoints"

func (l layout) checkpoints(key string) string { return filepath.Join(l.dir, checkpointsFolder, key) }

// makeCheckpoints creates the folder in which this attempt finds and saves checkpoints. A run that was requested begins
// from nothing: it resumes only from what attempts of this apply have saved.
func (c *call) makeCheckpoints(keep int) (*step.Checkpoints, error) {
	if c.n.item.Fresh && c.n.first == 0 {
		c.n.first = c.run.Attempt
	}
	at := &step.Checkpoints{Path: c.layout.checkpoints(c.n.key), Key: c.n.key, Keep: keep, Attempt: c.run.Attempt, From: c.n.first}
	err := os.MkdirAll(at.Path, 0o700)
	if err == nil {
		err = errors.Join(files.Sweep(at.Path), at.RemoveOutdated()) // what an attempt was saving when it was killed, too
	}
	if err != nil {
		return nil, fmt.Errorf("make the folder of checkpoints: %w", err)
	}
	return at, nil
}

// forgetCheckpoints removes what no attempt will resume from, because the result is recorded. What cannot be
// removed is garbage.
func (c *call) forgetCheckpoints() {
	if c.n.unit.Checkpoints > 0 {
		_ = files.RemoveAll(c.layout.checkpoints(c.n.key))
	}
}

// mostInterruptions is how often an apply starts a job again that the platform interrupts, besides its retries.
const mostInterruptions = 20

// resumes reports whether the attempt was interrupted and does not count: what it did is in its checkpoints.
func (c *call) resumes() bool {
	return c.status.Interrupted && c.n.unit.Checkpoints > 0 && c.n.interruptions < mostInterruptions
}

// resumable returns the keys of runs that have not succeeded: those in the journal, and those of kept revisions
// whose units still exist.
func resumable(l roots) map[string]bool {
	keys := map[string]bool{}
	for _, p := range l.pending {
		keys[p.Run.Key] = true
	}
	done := map[string]bool{}
	for _, r := range l.runs {
		done[r.Key] = done[r.Key] || r.Outcome == state.Done
	}
	for _, r := range l.runs {
		if r.Revision >= l.oldest[r.Env] && l.units[r.Unit] && !done[r.Key] {
			keys[r.Key] = true
		}
	}
	return keys
}
