package executors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// A trouble is something that goes wrong with a unit, a number of times.
type trouble struct {
	what  string // one of [troubles]
	unit  int    // modulo the number of units
	times int
}

func (t trouble) String() string {
	return fmt.Sprintf("%s (unit %d, %d times)", t.what, t.unit, t.times)
}

// The possible troubles, in the order of a task's life.
var troubles = []string{
	"apply refuses",          // nothing is started
	"apply loses the handle", // it is started, but an error is returned
	"apply hangs",            // until it is canceled; nothing is started
	"apply makes it ready",   // and hangs: it exists, and starts when it is applied again
	"run fails",
	"run hangs", // until it is ended
	"run writes nothing",
	"run writes some", // of its outputs
	"run writes half", // of each output
	"run writes later",
	"run changes data", // while it reads it
	"run changes outputs once they are verified",
	"run dies", // a service, some time after it was ready
	"look errs",
	"look says absent",
	"look says running", // of what has ended
	"look says failed",
	"end errs",
	"end errs although it ends",
	"end hangs",
	"end lies", // it reports success and ends nothing
}

// A liar is an executor that does not always do what it reports. What it has started
// lives in memory, and continues whatever becomes of the apply that started it.
type liar struct {
	dir string // of the data files

	mu       sync.Mutex
	tasks    map[string]*lie
	ghosts   []*lie              // reported as ended, but still alive
	troubles map[string][]string // still to come, by unit
	declared map[string]bool     // units of the applied system
	broken   []string            // violated invariants
	started  int
	luck     int
	changed  bool // the world has changed by itself since the last check

	living sync.WaitGroup
	end    chan struct{}

	// current returns the recorded handle of a unit.
	current func(unit string) string
}

// A lie is a task.
type lie struct {
	executors.Task
	fate   string
	phase  state.Phase
	ended  chan struct{} // the phase is no longer Running
	gone   chan struct{} // it was ended from outside
	undead bool          // could not be ended: it may exist beside another one
	asleep bool          // created, but not started
}

func newLiar(dir string) *liar {
	return &liar{dir: dir, end: make(chan struct{}), tasks: map[string]*lie{}, troubles: map[string][]string{}}
}

var errLiar = errors.New("the executor is out of sorts")

// next takes the first trouble of a kind that the unit still has, or "".
func (l *liar) next(unit, kind string) string {
	for i, t := range l.troubles[unit] {
		if strings.HasPrefix(t, kind+" ") {
			l.troubles[unit] = slices.Delete(l.troubles[unit], i, i+1)
			return strings.TrimPrefix(t, kind+" ")
		}
	}
	return ""
}

func (l *liar) violate(format string, args ...any) {
	l.broken = append(l.broken, fmt.Sprintf(format, args...))
}

func (l *liar) Apply(ctx context.Context, t executors.Task, _ *state.Handle) (state.Handle, error) {
	h := state.Handle{Executor: "liar", ID: t.Name}
	l.mu.Lock()
	trouble := l.next(t.Unit.ID, "apply")
	if old := l.tasks[t.Name]; old != nil && trouble != "" {
		old.undead = true
	}
	if trouble == "makes it ready" && l.tasks[t.Name] == nil {
		l.tasks[t.Name] = l.ready(t)
	}
	if trouble == "hangs" || trouble == "makes it ready" {
		l.mu.Unlock()
		return h, l.hang(ctx)
	}
	defer l.mu.Unlock()
	if trouble == "refuses" {
		return state.Handle{}, errLiar
	}
	switch old := l.tasks[t.Name]; {
	case old == nil || old.Unit.Kind == ir.Service && old.phase == state.Failed:
		l.start(l.ready(t))
	case old.asleep:
		l.start(old)
	}
	if trouble == "loses the handle" {
		return state.Handle{}, errLiar
	}
	return h, nil
}

func (l *liar) Find(ctx context.Context, name, _ string) (*state.Handle, error) {
	l.mu.Lock()
	t, trouble := l.tasks[name], ""
	if t != nil {
		trouble = l.next(t.Unit.ID, "apply")
		t.undead = t.undead || trouble != ""
	}
	l.mu.Unlock()
	switch {
	case trouble == "hangs":
		return nil, l.hang(ctx)
	case trouble != "":
		return nil, errLiar
	case t == nil:
		return nil, nil
	}
	return &state.Handle{Executor: "liar", ID: name}, nil
}

// hang waits until the caller gives up, or the world ends.
func (l *liar) hang(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-l.end:
		return errLiar
	}
}

// ready returns a task that is created but not started.
func (l *liar) ready(t executors.Task) *lie {
	return &lie{
		Task: t, fate: l.next(t.Unit.ID, "run"), phase: state.Running, asleep: true, ended: make(chan struct{}), gone: make(chan struct{}),
	}
}

func (l *liar) start(x *lie) {
	for _, other := range l.tasks {
		if other == x || other.asleep {
			continue
		}
		if other.Unit.ID == x.Unit.ID && x.Unit.Kind == ir.Job && other.Unit.Kind == ir.Job && other.alive() && !other.undead {
			l.violate("%s is started while %s runs", x.Name, other.Name)
		}
		for _, d := range x.Devices {
			if other.Unit.ID != x.Unit.ID && other.alive() && slices.Contains(other.Devices, d) {
				l.violate("%s is started with %s, which %s has", x.Name, d.Name, other.Name)
			}
		}
	}
	l.started++
	x.asleep = false
	l.tasks[x.Name] = x
	l.living.Go(func() { l.live(x) })
}

func (x *lie) alive() bool { return x.phase == state.Running || x.phase == state.Ready }

// live is what a task does by itself.
func (l *liar) live(x *lie) {
	if !x.sleep(time.Second) {
		return
	}
	if x.fate == "hangs" && !x.sleep(forever) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.phase != state.Running {
		return
	}
	if x.Unit.Kind == ir.Service {
		if x.fate == "fails" {
			x.settle(state.Failed)
			return
		}
		x.settle(state.Ready)
		if x.fate == "dies" {
			l.living.Go(func() {
				if x.sleep(2 * time.Second) {
					l.mu.Lock()
					defer l.mu.Unlock()
					if x.fate == "dies" {
						l.die(x)
					}
				}
			})
		}
		return
	}
	if x.fate == "fails" {
		x.settle(state.Failed)
		return
	}
	l.luck++
	outputs := produce(&x.Unit, digests(x.Inputs), l.read(x.Files), fmt.Sprint(l.luck))
	switch x.fate {
	case "changes data":
		l.changed = true
		for _, paths := range x.Files {
			for _, p := range paths {
				must(os.WriteFile(p, []byte(fmt.Sprint("changed while it was read, ", l.luck)), 0o644))
			}
		}
	case "writes nothing":
		outputs = nil
	case "writes some":
		if ports := slices.Sorted(maps.Keys(outputs)); len(ports) > 0 {
			delete(outputs, ports[0])
		}
	case "writes half", "writes later":
		whole := outputs
		outputs = map[string]map[string]string{}
		for port, files := range whole {
			outputs[port] = map[string]string{}
			for name, content := range files {
				outputs[port][name] = content[:len(content)/2]
			}
		}
		if x.fate == "writes later" {
			l.living.Go(func() {
				time.Sleep(time.Second)
				_ = x.write(whole) // the folder may be gone
			})
		}
	}
	_ = x.write(outputs)
	x.settle(state.Succeeded)
}

const forever = 1000 * time.Hour

// sleep returns false if the task is ended in the meantime.
func (x *lie) sleep(d time.Duration) bool {
	select {
	case <-x.gone:
		return false
	case <-time.After(d):
		return true
	}
}

func (x *lie) settle(p state.Phase) {
	if x.phase == state.Running {
		close(x.ended)
	}
	x.phase = p
}

// die ends a ready service, as if by itself.
func (l *liar) die(x *lie) {
	if x.phase == state.Ready {
		x.phase, l.changed = state.Failed, true
	}
}

func (l *liar) read(files map[string][]string) map[string]string {
	content := map[string]string{}
	for _, paths := range files {
		for _, p := range paths {
			b, err := os.ReadFile(p)
			must(err)
			rel, err := filepath.Rel(l.dir, p)
			must(err)
			content[filepath.ToSlash(rel)] = string(b)
		}
	}
	return content
}

func (x *lie) write(outputs map[string]map[string]string) error {
	for port, files := range outputs {
		if err := writePort(filepath.Join(x.Dir, "out", port), files); err != nil {
			return err
		}
	}
	return nil
}

func writePort(path string, files map[string]string) error {
	for name, content := range files {
		to := filepath.Join(path, name)
		if name != "" {
			if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
		if err := os.WriteFile(to, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func digests(ports map[string]step.Port) map[string]string {
	out := map[string]string{}
	for name, p := range ports {
		out[name] = p.Digest
	}
	return out
}

// footer ends a table, as in Parquet, so that half a table is recognized.
const footer = "PAR1"

// produce is the work of every step: it returns the outputs, by port and file. They
// depend on the definition, the inputs and, for the component "random", on luck.
func produce(u *ir.Unit, inputs, files map[string]string, luck string) map[string]map[string]string {
	text := u.Component + " " + string(u.Params)
	if u.Component != "constant" {
		for _, in := range u.Inputs {
			if !in.Incumbent {
				text += " " + in.Port + "=" + inputs[in.Port]
			}
		}
		for _, f := range slices.Sorted(maps.Keys(files)) {
			text += " " + f + "=" + files[f]
		}
	}
	if u.Component == "random" {
		text += " " + luck
	}
	out := map[string]map[string]string{}
	for _, o := range u.Outputs {
		of := text + " as " + o.Port
		switch o.Kind {
		case ir.Table:
			out[o.Port] = map[string]string{"": of + footer}
		case ir.Model:
			sig, err := json.Marshal(o.Signature)
			must(err)
			out[o.Port] = map[string]string{"weights": of, "signature.json": string(sig)}
		case ir.Report:
			out[o.Port] = map[string]string{"report.json": fmt.Sprintf(`{"metrics":{"m":%d}}`, score(of))}
		}
	}
	return out
}

// score is the metric in a report.
func score(of string) int64 {
	var n int64
	_, err := fmt.Sscanf(ir.Sum([]byte(of)), "sha256:%10x", &n)
	must(err)
	return n
}

func verifyFooter(change func(path string)) executors.VerifyFunc {
	return func(_ context.Context, path string, _ ir.Schema, _ []string, _ []executors.Referred) ([]executors.Violation, int64, error) {
		b, err := os.ReadFile(path)
		if err == nil && !strings.HasSuffix(string(b), footer) {
			err = errors.New("it is no table: it has no footer")
		}
		if err == nil {
			change(path)
		}
		return nil, 1, err
	}
}

// verified changes an output right after it was verified, if that is its fate.
func (l *liar) verified(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.tasks[filepath.Base(filepath.Dir(filepath.Dir(path)))]
	if x != nil && x.fate == "changes outputs once they are verified" {
		must(os.WriteFile(path, []byte("no table any more"), 0o644))
	}
}

func (l *liar) Inspect(ctx context.Context, h state.Handle) (state.Status, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.tasks[h.ID]
	if x == nil {
		return state.Status{Phase: state.Absent}, nil
	}
	switch l.next(x.Unit.ID, "look") {
	case "errs":
		return state.Status{}, errLiar
	case "says absent":
		return state.Status{Phase: state.Absent}, nil
	case "says running":
		l.changed = l.changed || x.phase == state.Failed // nobody can know
		return state.Status{Phase: state.Running}, nil
	case "says failed":
		return state.Status{Phase: state.Failed, ExitCode: 1}, nil
	}
	st := state.Status{Phase: x.phase, Over: x.phase == state.Succeeded && x.fate != "writes later" && x.Key[0]%2 == 0} // it cannot tell for half of them
	if x.phase == state.Failed {
		st.ExitCode = 1
	}
	return st, nil
}

func (l *liar) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	l.mu.Lock()
	x := l.tasks[h.ID]
	l.mu.Unlock()
	if x != nil {
		select {
		case <-ctx.Done():
			return state.Status{}, ctx.Err()
		case <-x.ended:
		}
	}
	return l.Inspect(ctx, h)
}

func (l *liar) Destroy(ctx context.Context, h state.Handle) error {
	l.mu.Lock()
	x := l.tasks[h.ID]
	if x == nil {
		l.mu.Unlock()
		return nil
	}
	trouble := l.next(x.Unit.ID, "end")
	if trouble == "hangs" {
		x.undead = true
		l.mu.Unlock()
		return l.hang(ctx)
	}
	ready := x.phase == state.Ready && l.declared[x.Unit.ID]
	l.mu.Unlock()
	if ready && trouble != "errs" && l.current(x.Unit.ID) == h.ID {
		l.mu.Lock()
		l.violate("%s is stopped while it is deployed", h.ID)
		l.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch trouble {
	case "errs":
		x.undead = true
		return errLiar
	case "lies":
		delete(l.tasks, h.ID)
		l.ghosts = append(l.ghosts, x)
		return nil
	}
	if x.phase == state.Running || x.phase == state.Ready {
		close(x.gone)
	}
	x.settle(state.Absent)
	delete(l.tasks, h.ID)
	if trouble == "errs although it ends" {
		return errLiar
	}
	return nil
}

// behave ends all troubles, also those of running tasks.
func (l *liar) behave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.troubles)
	for _, x := range l.tasks {
		if x.fate == "hangs" && x.phase == state.Running {
			close(x.gone)
			x.settle(state.Failed)
		}
		x.fate = ""
	}
	l.changed = false
}

// reboot removes everything that runs, and everything that is known of earlier tasks.
func (l *liar) reboot() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, x := range l.tasks {
		if x.alive() {
			close(x.gone)
		}
		x.settle(state.Absent)
		delete(l.tasks, name)
	}
}

// alive lists what runs, except for what only the executor knows about.
func (l *liar) alive() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for name, x := range l.tasks {
		if x.alive() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// stop ends everything that is left, so that the test can end.
func (l *liar) stop() {
	l.reboot()
	l.mu.Lock()
	for _, g := range l.ghosts {
		if g.alive() {
			close(g.gone)
			g.settle(state.Absent)
		}
	}
	l.mu.Unlock()
	l.living.Wait()
}
