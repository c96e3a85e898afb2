package componenttest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A ran is what the suite observes of one program of the component.
type ran struct {
	unit     ir.Unit
	task     executors.Task // as the program received it
	status   state.Status   // how it ended
	began    time.Time
	took     time.Duration // until it ended
	stopping time.Duration // from the request to end it until its end

	done     bool   // recorded as done
	canceled bool   // it was cancelled
	fault    string // why it failed
	// outputs is set once it is done.
	outputs map[string]output
}

type output struct {
	kind   ir.PortKind
	digest string
	path   string
	rows   int64
}

// A watch is between the engine and an executor. It notes how the programs of the
// component run, and may change their input.
type watch struct {
	component string
	isolated  bool // without a network
	// change, if set, changes a task before it starts.
	change func(context.Context, runner, *executors.Task) error
	// started, if set, is called when a program has started.
	started func()

	mu       sync.Mutex
	runs     map[string]*ran // by unit
	byHandle map[string]*ran // by the id of its handle
	refused  error           // why network isolation failed
}

// A runner is an executor that can wait.
type runner interface {
	executors.Executor
	executors.Waiter
}

type watched struct {
	runner
	*watch
}

// around returns the executor that the engine uses in place of x.
func (w *watch) around(x executors.Executor) executors.Executor {
	r, ok := x.(runner)
	if !ok {
		return x
	}
	if p, ok := x.(executors.Preparer); ok {
		return &prepared{&watched{r, w}, p}
	}
	return &watched{r, w}
}

// prepared is the same for an executor that prepares environments before units start.
type prepared struct {
	*watched
	executors.Preparer
}

func (w *watched) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if t.Unit.Component != w.component {
		return w.runner.Apply(ctx, t, prior)
	}
	if w.change != nil {
		if err := w.change(ctx, w.runner, &t); err != nil {
			return state.Handle{}, err
		}
	}
	r := &ran{unit: t.Unit, task: t, began: time.Now()}
	var h state.Handle
	var err error
	start := func() { h, err = w.runner.Apply(ctx, t, prior) }
	if w.isolated && t.Unit.Network != ir.NetworkOpen && t.Unit.Endpoint == nil {
		if refused := withoutNetwork(start); refused != nil {
			w.mu.Lock()
			w.refused = refused
			w.mu.Unlock()
			start()
		}
	} else {
		start()
	}
	w.mu.Lock()
	w.runs[t.Unit.ID] = r
	w.byHandle[h.ID] = r
	w.mu.Unlock()
	if w.started != nil {
		w.started()
	}
	return h, err
}

// Wait notes how a program ended.
func (w *watched) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	st, err := w.runner.Wait(ctx, h)
	if r := w.of(h); r != nil && err == nil {
		w.mu.Lock()
		r.status, r.took = st, time.Since(r.began)
		w.mu.Unlock()
	}
	return st, err
}

// Destroy notes how long a program took to end.
func (w *watched) Destroy(ctx context.Context, h state.Handle) error {
	began := time.Now()
	err := w.runner.Destroy(ctx, h)
	if r := w.of(h); r != nil {
		w.mu.Lock()
		r.stopping = time.Since(began)
		w.mu.Unlock()
	}
	return err
}

func (w *watch) of(h state.Handle) *ran {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.byHandle[h.ID]
}

// withoutNetwork calls f on a thread in a network namespace without interfaces. What f
// starts is in it as well. If this user may not create a namespace, it does not call f.
func withoutNetwork(f func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}

// cut gives a task only the first rows of each table that it reads. The library's SQL
// component cuts them.
func cut(rows int) func(context.Context, runner, *executors.Task) error {
	return func(ctx context.Context, x runner, t *executors.Task) error {
		inputs := map[string]step.Port{}
		for name, port := range t.Inputs {
			if port.Kind == ir.Table {
				path, err := firstRows(ctx, x, port, filepath.Join(t.Dir, "cut-"+name), rows)
				if err != nil {
					return err
				}
				port.Path = path
			}
			inputs[name] = port
		}
		t.Inputs = inputs
		return nil
	}
}

func firstRows(ctx context.Context, x runner, table step.Port, dir string, rows int) (string, error) {
	params, err := json.Marshal(map[string]string{"sql": fmt.Sprintf("SELECT * FROM rows LIMIT %d", rows)})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	h, err := x.Apply(ctx, executors.Task{
		Name: filepath.Base(dir), Dir: dir, Inputs: map[string]step.Port{"rows": table},
		Unit: ir.Unit{
			ID: "suite/cut", Kind: ir.Job, Component: "feature.sql", Code: ir.Code{Runtime: ir.Builtin}, Params: params,
			Outputs: []ir.Output{{Port: "out", Kind: ir.Table, Schema: table.Schema}},
		},
	}, nil)
	if err != nil {
		return "", err
	}
	st, err := x.Wait(ctx, h)
	if err == nil && st.Phase != state.Succeeded {
		err = fmt.Errorf("cut a table: %s %s", st.Message, tail(filepath.Join(dir, "log")))
	}
	return filepath.Join(dir, "out", "out"), err
}

// lines returns the lines of a log that are not blank.
func lines(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			all = append(all, line)
		}
	}
	return all
}

// tail returns the last line of a log, or "".
func tail(path string) string {
	all := lines(path)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}
