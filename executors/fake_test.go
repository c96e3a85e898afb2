package executors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A fake executor keeps tasks in memory. The behaviour of a unit says what it does; by
// default it writes the declared outputs at once and succeeds.
type fake struct {
	mu     sync.Mutex
	tasks  map[string]*fakeTask
	last   map[string]executors.Task // by unit
	behave map[string]behaviour      // by unit
	calls  []string                  // "apply models-a-1", "destroy models-a-1"
	using  ir.Resources
	peak   ir.Resources
	atOnce int
	most   int
	ready  int                   // services
	fewest int                   // ready services, at any time after the first one
	routes map[string]step.Route // by handle
	failed error                 // what SetRoute returns
	shared []string              // "features/a and features/b have gpu=0": devices that two units hold at once
}

type behaviour struct {
	takes time.Duration
	fails int  // number of attempts that fail first
	code  int  // exit code of a failure, 1 if 0
	taken bool // it fails because the platform takes back what it runs on
	hangs bool // until it is destroyed
	// late returns the status whenever a wait for it is given up.
	late    func() state.Status
	never   bool // service: never becomes ready
	refuses error
	loses   int                    // handles: number of calls of Apply that return an error although the task exists
	undying error                  // Destroy fails
	lingers bool                   // Destroy does not return before its time is up
	trails  bool                   // the job may leave something running
	writes  map[string]string      // relative to the run's folder: content; replaces the outputs
	leaves  func(dir string) error // does something else in the run's folder
	log     string
}

type fakeTask struct {
	task  executors.Task
	state state.Status
	ended chan struct{}
}

func newFake() *fake {
	return &fake{tasks: map[string]*fakeTask{}, last: map[string]executors.Task{}, behave: map[string]behaviour{}, routes: map[string]step.Route{}}
}

func (f *fake) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := state.Handle{Executor: "fake", ID: t.Name}
	b := f.behave[t.Unit.ID]
	if b.refuses != nil {
		return h, b.refuses
	}
	f.calls = append(f.calls, "apply "+t.Name)
	var lost error
	if b.loses > 0 {
		b.loses--
		f.behave[t.Unit.ID] = b
		lost = errors.New("connection lost")
	}
	if _, there := f.tasks[t.Name]; there {
		return h, lost
	}
	ft := &fakeTask{task: t, state: state.Status{Phase: state.Running}, ended: make(chan struct{})}
	for _, other := range f.tasks {
		if other.task.Unit.ID != t.Unit.ID && (other.state.Phase == state.Running || other.state.Phase == state.Ready) {
			f.share(t, other.task)
		}
	}
	f.tasks[t.Name], f.last[t.Unit.ID] = ft, t
	if t.Route != nil {
		f.routes[t.Name] = *t.Route
	}
	f.atOnce++
	f.most = max(f.most, f.atOnce)
	f.using.MilliCPU += t.Unit.Needs.MilliCPU
	f.using.GPU += t.Unit.Needs.GPU
	f.peak.MilliCPU, f.peak.GPU = max(f.peak.MilliCPU, f.using.MilliCPU), max(f.peak.GPU, f.using.GPU)
	if !b.hangs && !b.never {
		go func() {
			time.Sleep(b.takes)
			f.end(t.Name)
		}()
	}
	return h, lost
}

// share notes devices that two tasks both hold, unless they are shares.
func (f *fake) share(a, b executors.Task) {
	for _, d := range a.Devices {
		for _, e := range b.Devices {
			if d.Name == e.Name && !(strings.Contains(d.Part, "/") && strings.Contains(e.Part, "/")) {
				f.shared = append(f.shared, fmt.Sprintf("%s and %s have %s", a.Unit.ID, b.Unit.ID, d.Name))
			}
		}
	}
}

// end ends a task as its behaviour says, as if by itself.
func (f *fake) end(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ft := f.tasks[name]
	if ft == nil || ft.state.Phase != state.Running {
		return
	}
	b := f.behave[ft.task.Unit.ID]
	if b.log != "" {
		must(os.WriteFile(filepath.Join(ft.task.Dir, "log"), []byte(b.log), 0o644))
	}
	if ft.task.Unit.Kind == ir.Service {
		f.settle(ft, state.Status{Phase: state.Ready})
		f.ready++
		return
	}
	if b.fails > 0 {
		b.fails--
		f.behave[ft.task.Unit.ID] = b
		f.settle(ft, state.Status{Phase: state.Failed, ExitCode: max(b.code, 1), Interrupted: b.taken})
		return
	}
	must(os.MkdirAll(filepath.Join(ft.task.Dir, "out"), 0o755)) // like an executor on another machine
	write(ft.task, b)
	if b.leaves != nil {
		must(b.leaves(ft.task.Dir))
	}
	f.settle(ft, state.Status{Phase: state.Succeeded, Usage: state.Usage{CPU: time.Second}, Over: !b.trails})
}

func (f *fake) settle(ft *fakeTask, st state.Status) {
	if ft.state.Phase == state.Running {
		f.atOnce--
		f.using.MilliCPU -= ft.task.Unit.Needs.MilliCPU
		f.using.GPU -= ft.task.Unit.Needs.GPU
	}
	ft.state = st
	close(ft.ended)
}

// write does the work of a step: the result depends only on its parameters and its
// inputs.
func write(t executors.Task, b behaviour) {
	if b.writes != nil {
		for name, content := range b.writes {
			path := filepath.Join(t.Dir, name)
			must(os.MkdirAll(filepath.Dir(path), 0o755))
			must(os.WriteFile(path, []byte(content), 0o644))
		}
		return
	}
	content := t.Unit.Component + string(t.Unit.Params)
	for _, in := range t.Unit.Inputs {
		content += " " + t.Inputs[in.Port].Digest
	}
	var p struct {
		Always string `json:"always"` // the same bytes for any input
	}
	if len(t.Unit.Params) > 0 {
		must(json.Unmarshal(t.Unit.Params, &p))
	}
	if p.Always != "" {
		content = p.Always
	}
	for _, out := range t.Unit.Outputs {
		path := filepath.Join(t.Dir, "out", out.Port)
		switch out.Kind {
		case ir.Model:
			must(os.MkdirAll(path, 0o755))
			must(os.WriteFile(filepath.Join(path, "weights"), []byte(content), 0o644))
			sig, err := json.Marshal(out.Signature)
			must(err)
			must(os.WriteFile(filepath.Join(path, "signature.json"), sig, 0o644))
		case ir.Report:
			must(os.MkdirAll(path, 0o755))
			must(os.WriteFile(filepath.Join(path, "report.json"), []byte(`{"metrics": {"roc_auc": 0.9}}`), 0o644))
		default:
			must(os.WriteFile(path, []byte(content), 0o644))
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (f *fake) Find(_ context.Context, name, _ string) (*state.Handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ft := f.tasks[name]
	if ft == nil {
		return nil, nil
	}
	if b := f.behave[ft.task.Unit.ID]; b.loses > 0 {
		b.loses--
		f.behave[ft.task.Unit.ID] = b
		return nil, errors.New("connection lost")
	}
	return &state.Handle{Executor: "fake", ID: name}, nil
}

func (f *fake) Inspect(_ context.Context, h state.Handle) (state.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ft := f.tasks[h.ID]; ft != nil {
		return ft.state, nil
	}
	return state.Status{Phase: state.Absent}, nil
}

func (f *fake) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	f.mu.Lock()
	ft := f.tasks[h.ID]
	f.mu.Unlock()
	if ft != nil {
		select {
		case <-ctx.Done():
			f.mu.Lock()
			defer f.mu.Unlock()
			if late := f.behave[ft.task.Unit.ID].late; late != nil {
				return late(), ctx.Err()
			}
			return state.Status{}, ctx.Err()
		case <-ft.ended:
		}
	}
	return f.Inspect(ctx, h)
}

func (f *fake) Destroy(ctx context.Context, h state.Handle) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ft := f.tasks[h.ID]
	if ft == nil {
		return nil
	}
	if f.behave[ft.task.Unit.ID].lingers {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := f.behave[ft.task.Unit.ID].undying; err != nil {
		return err
	}
	f.calls = append(f.calls, "destroy "+h.ID)
	switch ft.state.Phase {
	case state.Running:
		f.settle(ft, state.Status{Phase: state.Absent})
	case state.Ready:
		f.ready--
		f.fewest = min(f.fewest, f.ready)
	}
	delete(f.tasks, h.ID)
	return nil
}

func (f *fake) SetRoute(_ context.Context, h state.Handle, r step.Route) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil {
		return f.failed
	}
	f.calls = append(f.calls, "route "+h.ID)
	f.routes[h.ID] = r
	return nil
}

func (f *fake) Observe(context.Context, state.Handle) (*step.Observed, error) { return nil, nil }

// started lists the names of the tasks of a unit that were started, in order.
func (f *fake) started(unit string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, c := range f.calls {
		name, ok := strings.CutPrefix(c, "apply ")
		if ok && strings.HasPrefix(name, strings.ReplaceAll(unit, "/", "-")+"-") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (f *fake) task(name string) executors.Task {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tasks[name].task
}

// alive lists the tasks that the executor still has.
func (f *fake) alive() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.tasks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
