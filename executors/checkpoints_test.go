package executors_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// An interruption counts neither as a failure nor as a retry if the job resumes, as long as there are not too many of
// them. Without checkpoints it is a failure.
func TestInterruptionsOfJobsWithCheckpointsDoNotCount(t *testing.T) {
	for _, c := range []struct {
		name                      string
		checkpoints, retries      int
		interruptions, wantStarts int
		wantFailed                bool
	}{
		{"it resumes", 2, 0, 3, 4, false},
		{"too many", 2, 1, 100, 22, true},
		{"without checkpoints", 0, 1, 100, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.fake.behave["sources/a"] = behaviour{fails: c.interruptions, taken: true}
			u := table("sources/a", `{}`)
			u.Checkpoints, u.Retries = c.checkpoints, c.retries
			_, err := b.apply(u)
			if (err != nil) != c.wantFailed {
				t.Errorf("it ended with %v", err)
			}
			if n := len(b.fake.started("sources/a")); n != c.wantStarts {
				t.Errorf("it was started %d times, want %d", n, c.wantStarts)
			}
		})
	}
}

// A run that was requested begins from nothing: what earlier runs of the same key saved is removed. What its own first
// attempt saves is there for the second one.
func TestARequestedRunBeginsFromNothing(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{fails: 1}
	u := table("sources/a", `{}`)
	u.Checkpoints, u.Retries = 3, 0
	if _, err := b.apply(u); err == nil {
		t.Fatal("it has not failed")
	}
	first := *b.fake.last["sources/a"].Checkpoints
	save := func(number int64) {
		at := *b.fake.last["sources/a"].Checkpoints
		b.ok(at.Save(number, func(dir string) error { return os.WriteFile(filepath.Join(dir, "state"), nil, 0o644) }))
	}
	save(7)

	var seen []string
	b.watch = func(e executors.Event) {
		if e.Type != executors.EventRetried && e.Type != executors.EventFailed {
			return
		}
		numbers, err := first.Numbers()
		b.ok(err)
		seen = append(seen, fmt.Sprint(numbers))
		save(3)
	}
	b.fake.behave["sources/a"] = behaviour{fails: 2}
	u.Retries = 1
	if _, err := executors.Apply(b.Context(), b.plan([]ir.Unit{u}, "sources/a"), b.options()); err == nil {
		t.Fatal("it has not failed")
	}
	if got := strings.Join(seen, " "); got != "[] [3]" {
		t.Errorf("its attempts found %s, want nothing and then 3", got)
	}
	b.watch = nil
	b.fake.behave["sources/a"] = behaviour{fails: 1}
	if _, err := b.apply(u); err != nil { // not requested: it resumes
		t.Fatal(err)
	}
	if from := b.fake.last["sources/a"].Checkpoints.From; from != 0 {
		t.Errorf("the run after it begins with checkpoints of attempt %d", from)
	}
}

// All attempts of a run have one folder, which goes with its result. A run of another definition has another one.
func TestAttemptsShareTheFolderOfCheckpoints(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{fails: 1}
	u := table("sources/a", `{}`)
	u.Checkpoints = 3
	if _, err := b.apply(u); err == nil {
		t.Fatal("it has not failed")
	}
	first := *b.fake.last["sources/a"].Checkpoints
	b.ok(os.WriteFile(filepath.Join(first.Path, ".new-half"), nil, 0o644))
	b.ok(os.Mkdir(filepath.Join(first.Path, "7"), 0o755))
	if c := b.collect(executors.Retention{Revisions: 1}); !c.Empty() {
		t.Errorf("garbage is %+v", c.Garbage)
	}
	b.mustApply(u)
	task := b.fake.last["sources/a"]
	if want := (step.Checkpoints{Path: first.Path, Key: task.Key, Keep: 3, Attempt: 2}); *task.Checkpoints != want {
		t.Errorf("the second attempt has %+v, want %+v", *task.Checkpoints, want)
	}
	if _, err := os.Stat(first.Path); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
	changed := table("sources/a", `{"n": 1}`)
	changed.Checkpoints = 1
	b.mustApply(changed)
	if at := b.fake.last["sources/a"].Checkpoints.Path; at == first.Path || filepath.Dir(at) != filepath.Dir(first.Path) {
		t.Errorf("another run has the folder %s", at)
	}
}
