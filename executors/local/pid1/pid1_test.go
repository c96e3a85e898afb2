package pid1_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local/pid1"
)

// asFirst makes the test binary act as a first process. endRest makes it end what the
// program left, and print so.
const asFirst, endRest = "TENON_FIRST_TEST", "TENON_FIRST_END_REST"

func TestMain(m *testing.M) {
	if os.Getenv(asFirst) == "" {
		os.Exit(m.Run())
	}
	if err := pid1.Check(); err != nil {
		fmt.Println(err)
		os.Exit(pid1.ExitFault)
	}
	signals := pid1.Signals()
	pid, status, err := pid1.Start(os.Args[1], os.Args[2:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Println(err)
		os.Exit(status)
	}
	status = pid1.Follow(pid, signals)
	if os.Getenv(endRest) != "" {
		pid1.EndRest()
		fmt.Println(unix.Kill(-1, 0)) // signals all other processes, if there are any
	}
	os.Exit(status)
}

// A process is a first process in a namespace of its own.
type process struct {
	*exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func start(t *testing.T, env []string, dir string, argv ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], append([]string{dir}, argv...)...)}
	p.Env = append([]string{asFirst + "=1", "PATH=/usr/bin:/bin"}, env...)
	p.Stdout, p.Stderr = p, p
	p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	ok(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	return p
}

// status waits for its end.
func (p *process) status(t *testing.T) int {
	t.Helper()
	timer := time.AfterFunc(30*time.Second, func() { _ = p.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: never", what)
		}
	}
}

func TestExitsLikeTheProgram(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 3": 3, "exit 127": 127, "exit 255": 255,
		"kill -TERM $$": 128 + 15, "kill -KILL $$": 128 + 9, "kill -SEGV $$": 128 + 11,
		"sleep 600 >/dev/null 2>&1 & exit 4": 4, // what it leaves behind does not delay its end
	} {
		p := start(t, nil, "", "sh", "-c", script)
		if got := p.status(t); got != want || p.said() != "" {
			t.Errorf("%s: status %d, want %d; it said %q", script, got, want, p.said())
		}
	}
}

func TestLeftoversCanBeStopped(t *testing.T) {
	// One process that ignores signals, one in another session, and one that starts
	// more.
	p := start(t, []string{endRest + "=1"}, "", "sh", "-c", `
		sh -c 'trap "" TERM HUP; while :; do sleep 600; done' &
		setsid sleep 600 &
		sh -c 'while :; do sleep 0.001; done' &
		exit 4`)
	if got := p.status(t); got != 4 || p.said() != "no such process\n" {
		t.Errorf("status %d; when the rest was ended, to signal all others said %q", got, p.said())
	}
}

func TestOpenFilesAreThoseOfEveryContainer(t *testing.T) {
	var was syscall.Rlimit
	ok(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	ok(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 256, Max: was.Max}))
	p := start(t, nil, "", "sh", "-c", "ulimit -S -n; ulimit -H -n")
	ok(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was))
	want := fmt.Sprintf("%d\n%d\n", min(was.Max, 65536), was.Max)
	if status := p.status(t); status != 0 || p.said() != want {
		t.Errorf("status %d, limits %q, want %q", status, p.said(), want)
	}
}

func TestStartErrorsAreReported(t *testing.T) {
	dir := t.TempDir()
	plain, garbage := filepath.Join(dir, "plain"), filepath.Join(dir, "garbage")
	ok(t, os.WriteFile(plain, []byte("x"), 0o644))
	ok(t, os.WriteFile(garbage, []byte("\x00"), 0o755))
	for name, c := range map[string]struct {
		dir, program string
		status       int
		fault        string
	}{
		"a name":          {"", "no-such-program", 127, `program "no-such-program" not found in the PATH of the image (/usr/bin:/bin)`},
		"a path":          {"", "/no/such", 127, `program "/no/such" not found in the image`},
		"a relative path": {dir, "./such", 127, `program "./such" not found in the image`},
		"not a program":   {"", plain, 127, fmt.Sprintf("program %q cannot be executed", plain)},
		"no known format": {"", garbage, 126, fmt.Sprintf("start %q: fork/exec %s: exec format error", garbage, garbage)},
		"no folder":       {"/no/such", "true", 126, "chdir /no/such: no such file or directory"},
	} {
		p := start(t, nil, c.dir, c.program)
		if got := p.status(t); got != c.status || p.said() != c.fault+"\n" {
			t.Errorf("%s: status %d and %q\nwant %d and %q", name, got, p.said(), c.status, c.fault)
		}
	}
}

func TestRunsInAFolder(t *testing.T) {
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "own"), []byte("#!/bin/sh\npwd\n"), 0o755))
	p := start(t, nil, dir, "./own")
	if got := p.status(t); got != 0 || p.said() != dir+"\n" {
		t.Errorf("status %d, it said %q, want %s", got, p.said(), dir)
	}
}

func TestSignalsReachTheProgram(t *testing.T) {
	for name, sig := range map[string]unix.Signal{
		"HUP": unix.SIGHUP, "INT": unix.SIGINT, "QUIT": unix.SIGQUIT, "TERM": unix.SIGTERM, "USR1": unix.SIGUSR1, "USR2": unix.SIGUSR2,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, nil, "", "sh", "-c", "trap 'exit 5' "+name+"; echo listens; while :; do sleep 0.01; done")
			eventually(t, "it listens", func() bool { return p.said() == "listens\n" })
			ok(t, p.Process.Signal(sig))
			if got := p.status(t); got != 5 {
				t.Errorf("status %d, want 5", got)
			}
		})
	}
}

// A program may start others and ignore signals itself.
func TestSignalsReachAllProcesses(t *testing.T) {
	p := start(t, nil, "", "sh", "-c", `setsid sh -c 'trap "exit 7" TERM; echo listens; while :; do sleep 0.01; done' &
		child=$!
		trap : TERM
		echo waits
		wait $child
		wait $child
		exit $?`)
	eventually(t, "both are there", func() bool { return strings.Contains(p.said(), "listens\n") && strings.Contains(p.said(), "waits\n") })
	ok(t, p.Process.Signal(unix.SIGTERM))
	if got := p.status(t); got != 7 {
		t.Errorf("status %d, want 7, that of the other one", got)
	}
}

// The first process reaps processes that nobody waits for.
func TestOrphansAreReaped(t *testing.T) {
	p := start(t, nil, "", "sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.01 & echo orphan); done; echo ready; exec sleep 600")
	eventually(t, "the orphans are there", func() bool { return strings.HasSuffix(p.said(), "ready\n") })
	eventually(t, "only the program is left", func() bool { return len(children(t, p.Process.Pid)) == 1 })
}

// children returns the children of a process, including dead ones.
func children(t *testing.T, parent int) (pids []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	ok(t, err)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == fmt.Sprint(parent) {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

func TestRunsOnlyAsInit(t *testing.T) {
	cmd := exec.Command(os.Args[0], "", "echo", "ran")
	cmd.Env = []string{asFirst + "=1", "PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 126 {
		t.Errorf("%v, want status 126", err)
	}
	if !strings.Contains(string(out), "first process of a container") || strings.Contains(string(out), "ran") {
		t.Errorf("it said %q", out)
	}
}
