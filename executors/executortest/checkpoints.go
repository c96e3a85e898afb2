package executortest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// checkpointCases are about what outlives an attempt of a job.
func (s *suite) checkpointCases() []testCase {
	return []testCase{{"a job that is killed resumes from its checkpoint", s.resume}}
}

// resume runs attempts of a job that counts. The second one resumes from what the first one has saved. What succeeds
// leaves no checkpoints, and another key has none.
func (s *suite) resume(t *testing.T) {
	root := t.TempDir()
	attempt := func(key string, number int) (executors.Task, state.Status) {
		task := s.jobIn(t, root, "count", "5")
		task.Key, task.Unit.Checkpoints = key, 2
		task.Name = strings.TrimSuffix(task.Name, "-1") + fmt.Sprintf("-%s-%d", key[:4], number)
		task.Dir = filepath.Join(root, task.Name)
		task.Checkpoints = &step.Checkpoints{Path: filepath.Join(root, "checkpoints", key), Key: key, Keep: 2, Attempt: number}
		for _, dir := range []string{task.Dir, task.Checkpoints.Path} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		e := s.New(t)
		h := s.apply(t, e, task, nil)
		st := wait(t, e, h)
		if err := e.Destroy(t.Context(), h); err != nil {
			t.Fatalf("destroy: %v", err)
		}
		return task, st
	}
	const key, other = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"
	_, st := attempt(key, 1)
	wantPhase(t, st, state.Failed)
	if st.Signal != "SIGKILL" {
		t.Errorf("the first attempt ended with %+v, want SIGKILL", st)
	}
	task, st := attempt(key, 2)
	wantPhase(t, st, state.Succeeded)
	if from := read(t, out(task, "from")); from != "3 of attempt 1" {
		t.Errorf("the second attempt began at %s, want 3 of attempt 1", from)
	}
	_, st = attempt(other, 1)
	wantPhase(t, st, state.Failed)                              // it counted from the start
	if r, ok := s.New(t).(executors.Remote); ok && r.Remote() { // on this machine, the engine removes them
		_, st = attempt(key, 3)
		wantPhase(t, st, state.Failed)
	}
}
