package process

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/local/lives"
	"github.com/tenon-ml/tenon/internal/logfile"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A child is a process that this executor started and therefore reaps.
type child struct {
	id    local.Ident
	gone  chan struct{} // closed once it is reaped
	usage state.Usage   // valid after gone
}

// start starts the task in a folder that is locked and where nothing runs.
func (e *Executor) start(ctx context.Context, t executors.Task, locked *os.File, address *local.Address) (state.Handle, error) {
	doc := local.Document(t)
	if err := e.besides(ctx, t, doc); err != nil {
		return state.Handle{}, err
	}
	var err error
	if doc.Interpreters, err = e.interpreters(ctx, t); err != nil {
		return state.Handle{}, err
	}
	if err := local.WriteDocument(t, doc); err != nil {
		return state.Handle{}, err
	}
	if _, err := os.Stat(e.opts.Runner); err != nil {
		return state.Handle{}, fmt.Errorf("tenon-run, which starts programs, is not next to tenon: run `make build` to build both: %w", err)
	}
	ts := taskState{TaskState: local.TaskState{
		Name: t.Name, Unit: t.Unit.ID, Kind: t.Unit.Kind, Dir: t.Dir, Disk: t.Unit.Needs.Disk,
		Began: time.Now().UTC(), Instance: doc.Instance, Endpoint: doc.Endpoint,
	}}
	log, err := logfile.Append(ts.logPath()) // so that whoever follows the task finds it
	if err != nil {
		return state.Handle{}, err
	}
	defer log.Close() //nolint:errcheck // the task state reports a fault as well
	python := ""
	if t.Lock != "" && t.Unit.Code.Runtime != ir.Builtin {
		if e.opts.Python == nil {
			return state.Handle{}, fmt.Errorf("this executor has no Python environments, but the unit has a lock")
		}
		if python, err = e.python(ctx, t.Lock, nil); err != nil {
			return state.Handle{}, err
		}
	}
	if needsPython(t.Unit.Code.Runtime) && python == "" {
		return state.Handle{}, fmt.Errorf("a Python unit needs the lock of its environment")
	}
	program, duck, err := e.opts.Programs.Of(ctx, t.Unit.Code)
	if err != nil {
		return state.Handle{}, err
	}
	if err := ctx.Err(); err != nil {
		return state.Handle{}, err
	}
	env := e.environ(t, doc, python, duck)
	argv, fault := e.argv(t.Unit.Code, python, program, doc.Code, env)
	if fault != "" {
		// Only a container would discover this after the start. Here, too, it is the unit
		// that fails, and not tenon.
		fmt.Fprintf(log, "tenon: %s\n", fault)
		ts.Fault = fault
		if err := taskStates.Save(ts); err != nil {
			return state.Handle{}, err
		}
		return taskStates.Handle(ts)
	}
	return e.spawn(ts, argv, env, doc.Code, locked, address)
}

// besides finds the interpreters of other versions that need another environment.
func (e *Executor) besides(ctx context.Context, t executors.Task, doc step.Step) error {
	for name, other := range t.Beside {
		var err error
		if doc.Beside[name].Interpreters, err = e.interpreters(ctx, other); err != nil {
			return fmt.Errorf("the environments of %s: %w", name, err)
		}
		if other.Lock == t.Lock || other.Lock == "" {
			continue
		}
		python, err := e.python(ctx, other.Lock, nil)
		if err != nil {
			return fmt.Errorf("the environment of %s: %w", name, err)
		}
		doc.Beside[name].Args = append([]string{python}, other.Unit.Code.Command...)
	}
	return nil
}

// spawn starts tenon-run, records it, claims its address, and only then lets it continue. If
// tenon dies before that, tenon-run sees the end of the pipe and starts nothing.
func (e *Executor) spawn(ts taskState, argv, env []string, cwd string, locked *os.File, address *local.Address) (state.Handle, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return state.Handle{}, err
	}
	defer null.Close()
	gate, goAhead, err := os.Pipe()
	if err != nil {
		return state.Handle{}, err
	}
	defer gate.Close()
	defer goAhead.Close()

	ts.OOMKills = oomKills()
	run := []string{"tenon-run", "-local", "-log", ts.logPath(), "-exit", exitPath(ts.Dir), "-grace", e.opts.Grace.String()}
	if ts.Kind == ir.Service {
		run = append(run, "-lives", filepath.Join(ts.Dir, lives.File))
	}
	run = append(append(run, address.SocketArgs()...), "--")
	p, err := os.StartProcess(e.opts.Runner, append(run, argv...),
		&os.ProcAttr{
			Dir: cwd, Env: env,
			Files: []*os.File{null, null, null, gate, locked},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
	if err != nil {
		return state.Handle{}, fmt.Errorf("start tenon-run: %w", err)
	}
	c := &child{gone: make(chan struct{})}
	own := peakMem(syscall.RUSAGE_SELF)
	go c.reap(p, own)

	if ts.Ident, err = local.Identify(p.Pid); err != nil {
		return state.Handle{}, err
	}
	if err := taskStates.Save(ts); err != nil {
		return state.Handle{}, err
	}
	if err := address.Claim(ts.Ident, false); err != nil {
		return state.Handle{}, err
	}
	c.id = ts.Ident
	e.mu.Lock()
	e.children[ts.Dir] = c
	e.mu.Unlock()
	if _, err := io.WriteString(goAhead, "go\n"); err != nil {
		return state.Handle{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	return taskStates.Handle(ts)
}

// reap waits for the end. The kernel counts the memory of tenon itself, at most own,
// towards the peak of a child, so a peak that does not exceed own is unknown.
func (c *child) reap(p *os.Process, own int64) {
	defer close(c.gone)
	st, err := p.Wait()
	if err != nil {
		return
	}
	c.usage.CPU = st.UserTime() + st.SystemTime()
	ru, ok := st.SysUsage().(*syscall.Rusage)
	if !ok {
		return
	}
	const block = 512 // bytes, whatever the block size of the disk
	c.usage.ReadBytes, c.usage.WriteBytes = ru.Inblock*block, ru.Oublock*block
	if ru.Maxrss*1024 > own {
		c.usage.PeakMem = ru.Maxrss * 1024
	}
}

func peakMem(who int) int64 {
	var ru syscall.Rusage
	if err := syscall.Getrusage(who, &ru); err != nil {
		return 0
	}
	return ru.Maxrss * 1024
}

// needsPython reports whether units of a runtime cannot do without an environment.
func needsPython(r ir.Runtime) bool { return r == ir.Python || r.Serves() }

// argv resolves the program to an absolute path, or says in one line why it cannot. tenon
// is the program of Tenon that runs the unit, if one does.
func (e *Executor) argv(c ir.Code, python, tenon, cwd string, env []string) (argv []string, fault string) {
	switch c.Runtime {
	case ir.Builtin:
		return []string{tenon, "step"}, ""
	case ir.Plane:
		return append([]string{tenon, python}, c.Command...), ""
	case ir.PlaneDuckDB:
		return append([]string{tenon, "plane", python}, c.Command...), ""
	case ir.Python:
		return append([]string{python}, c.Command...), ""
	}
	name := c.Command[0]
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(cwd, path)
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Sprintf("program %q not found", name)
		}
		return append([]string{path}, c.Command[1:]...), ""
	}
	search := ""
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	for _, dir := range filepath.SplitList(search) {
		path := filepath.Join(dir, name)
		if fi, err := os.Stat(path); filepath.IsAbs(path) && err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return append([]string{path}, c.Command[1:]...), ""
		}
	}
	return nil, fmt.Sprintf("program %q not found in PATH (%s)", name, search)
}

// oomKills returns how many processes the kernel has OOM-killed since boot, or -1.
func oomKills() int64 {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return -1
	}
	_, rest, ok := bytes.Cut(b, []byte("\noom_kill "))
	if !ok {
		return -1
	}
	var n int64
	if _, err := fmt.Sscan(string(rest[:min(len(rest), 24)]), &n); err != nil {
		return -1
	}
	return n
}
