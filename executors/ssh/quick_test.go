package ssh_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/planner/state"
)

// Whoever reads what a service has kept does not wait for a host that answers nothing. It gets what
// the others have and which host is missing, and asks that again once it answers.
func TestKeptWithoutHost(t *testing.T) {
	const quick = 3 * time.Second
	l, runs := newLab(t), t.TempDir()
	// Each look at a log has an executor of its own, as in a controller.
	executor := func() *ssh.Executor {
		return l.executor(t, func(o *ssh.Options) { o.Runs, o.Quick = runs, quick })
	}
	e := executor()
	task := service(t, runs, "api", 8767)
	task.Unit.Keeps, task.Unit.Ships = "log", ir.Shipments{{Folder: program.Kept, Most: 1 << 20}}
	h := apply(t, e, task)
	wait(t, e, h, state.Ready)
	resp, err := http.Get("http://" + l.All[0].Address + ":8767/keep?file=first")
	ok(t, err)
	ok(t, resp.Body.Close())
	to := filepath.Join(t.TempDir(), "kept")
	bring := func() (took time.Duration, err error) {
		began := time.Now()
		err = executor().BringKept(within(t), h, task.Unit.Ships[0], time.Time{}, to)
		return time.Since(began), err
	}
	kept := func() int {
		found, _ := filepath.Glob(filepath.Join(to, "first_*"))
		return len(found)
	}
	eventually(t, "the file is brought", func() bool { _, err := bring(); ok(t, err); return kept() == 1 })

	thaw := l.All[1].Freeze(t)
	t.Cleanup(func() { thaw() })
	ok(t, os.RemoveAll(to))
	var partial *executors.PartialError
	if took, err := bring(); !errors.As(err, &partial) || strings.Join(partial.Lacks, " ") != "host "+l.All[1].Address || kept() != 1 {
		t.Errorf("after %s with a silent host: %v, %d files", took, err, kept())
	}
	if took, err := bring(); !errors.As(err, &partial) || took > quick-200*time.Millisecond {
		t.Errorf("a host that was silent just now is asked again: %s, %v", took, err)
	}
	thaw()
	_, err = executor().Find(within(t), "nothing", t.TempDir()) // asks all hosts
	ok(t, err)
	if _, err := bring(); err != nil || kept() != 1 {
		t.Errorf("once it answers: %v", err)
	}
	// What is copied of a host that is lost stays.
	l.All[0].Kill(t)
	if _, err := bring(); !errors.As(err, &partial) || kept() != 1 {
		t.Errorf("without the host of the service: %v, %d files", err, kept())
	}
	l.All[0].Start(t)
}
