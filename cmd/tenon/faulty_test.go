package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/all"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// What tenon-faulty reads from its environment.
const (
	faultKill  = "TENON_FAULT_KILL"  // the moment at which it is killed
	faultStop  = "TENON_FAULT_STOP"  // the moment at which it is stopped, until it is continued
	faultTrace = "TENON_FAULT_TRACE" // the file to which it writes every moment
	faultLease = "TENON_FAULT_LEASE" // how long its lock outlives its last renewal
)

// faulty is tenon with three differences. It is killed or stopped at a chosen moment:
// before or after a write to the state or a call of the executor. Its pauses are short.
// And component replaces what is written in Python.
func faulty() {
	m := &moments{seen: map[string]int{}, kill: os.Getenv(faultKill), stop: os.Getenv(faultStop), trace: os.Getenv(faultTrace)}
	injected.OnWrite = func(doing string, ended bool) {
		if ended {
			m.pass("after " + doing)
		} else {
			m.pass("before " + doing)
		}
	}
	injected.Executor = func(x executors.Executor) executors.Executor { return &faultyExecutor{x.(waiter), m} }
	injected.Backoff = time.Millisecond
	if text := os.Getenv(faultLease); text != "" {
		var err error
		if injected.Lease, err = time.ParseDuration(text); err != nil {
			fatal(err)
		}
	}
	main()
}

// moments are the moments of a run of tenon, by names that are the same in every run:
// "after finish run of steps/x", and "... (2)" for a second time.
type moments struct {
	mu                sync.Mutex
	seen              map[string]int
	kill, stop, trace string
}

// What differs between runs: the number of a run, and the key in the name of a task.
var (
	runNumber = regexp.MustCompile(` (run|revision) \d+`)
	taskKey   = regexp.MustCompile(`-[0-9a-f]{12}-(\d+)$`)
)

func (m *moments) pass(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = runNumber.ReplaceAllString(name, " $1")
	m.seen[name]++
	if n := m.seen[name]; n > 1 {
		name = fmt.Sprintf("%s (%d)", name, n)
	}
	if m.trace != "" {
		if err := appendLine(m.trace, name); err != nil {
			fatal(err)
		}
	}
	switch name {
	case m.kill:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // nothing else may happen until the signal arrives
	case m.stop:
		// Signal this very thread, which then stops at once. A signal to the process
		// would stop it a little later.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
	}
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(line + "\n")
	return err
}

// A faultyExecutor reports every call.
type faultyExecutor struct {
	waiter
	moments *moments
}

type waiter interface {
	executors.Executor
	executors.Waiter
}

func (x *faultyExecutor) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if t.Unit.Code.Runtime != ir.Command && t.Image == "" {
		t.Unit.Code, t.Lock = ir.Code{Runtime: ir.Command, Command: []string{"component"}}, ""
	}
	x.moments.pass("before the start of " + t.Unit.ID)
	defer x.moments.pass("after the start of " + t.Unit.ID)
	return x.waiter.Apply(ctx, t, prior)
}

func (x *faultyExecutor) call(what string, h state.Handle) func() {
	task := taskKey.ReplaceAllString(h.ID, "-$1")
	x.moments.pass("before " + what + " " + task)
	return func() { x.moments.pass("after " + what + " " + task) }
}

func (x *faultyExecutor) Inspect(ctx context.Context, h state.Handle) (state.Status, error) {
	defer x.call("the look at", h)()
	return x.waiter.Inspect(ctx, h)
}

func (x *faultyExecutor) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	defer x.call("the wait for", h)()
	return x.waiter.Wait(ctx, h)
}

func (x *faultyExecutor) Destroy(ctx context.Context, h state.Handle) error {
	defer x.call("the end of", h)()
	return x.waiter.Destroy(ctx, h)
}

// component does the work of any component: tenon's own are unchanged, and those written
// in Python are replaced by something fast. It reports its start and end.
func component() {
	s, err := step.Read()
	if err != nil {
		fatal(err)
	}
	ran := filepath.Join(systemOf(os.Getenv(step.Env)), "ran")
	tell := func(what string) {
		if err := appendLine(ran, what+" "+s.Unit); err != nil {
			fatal(err)
		}
	}
	tell("start")
	switch s.Component {
	case "train.sklearn":
		err = writeJSON(s.Outputs["model"].Path, "signature.json", s.Outputs["model"].Signature)
	case "evaluate.regression":
		err = writeJSON(s.Outputs["report"].Path, "report.json", map[string]any{"metrics": map[string]float64{"r2": 0.9}})
	case "serve.http":
		err = serve(s)
	default:
		err = all.Run(context.Background(), s)
	}
	if err != nil {
		fatal(err)
	}
	tell("end")
}

// systemOf returns the folder of the system whose state contains a path.
func systemOf(path string) string {
	dir, _, _ := strings.Cut(path, "/.tenon/")
	return dir
}

func writeJSON(dir, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), b, 0o644)
}

// serve answers until it is ended. Its successor listens on the same port.
func serve(s *step.Step) error {
	l, err := sharedPort.Listen(context.Background(), "tcp", net.JoinHostPort(s.Endpoint.Host, strconv.Itoa(s.Endpoint.Port)))
	if err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(local.InstanceHeader, s.Instance)
	}))
}

var sharedPort = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
		return e
	}
	return err
}}

// reservePort finds a free port and reserves it: the port is bound, and only those that
// share it, as services do, may listen there.
func reservePort() (port int, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	release = func() { _ = unix.Close(fd) }
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		release()
		return 0, nil, err
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		release()
		return 0, nil, err
	}
	return at.(*unix.SockaddrInet4).Port, release, nil
}
