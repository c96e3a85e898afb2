package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asRun makes the test binary act as the command.
const asRun = "TENON_RUN_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asRun) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A container is tenon-run as the first process of a namespace of its own.
type container struct {
	*exec.Cmd
	log, fault string
	stderr     bytes.Buffer
}

func start(t *testing.T, env []string, args ...string) *container {
	t.Helper()
	dir := t.TempDir()
	f := &container{log: filepath.Join(dir, "log"), fault: filepath.Join(dir, "fault")}
	ok(t, os.WriteFile(f.log, nil, 0o644))
	f.Cmd = exec.Command(os.Args[0], append([]string{"-log", f.log, "-fault", f.fault}, args...)...)
	f.Env = append([]string{asRun + "=1", "PATH=/usr/bin:/bin"}, env...)
	f.Stderr = &f.stderr
	f.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	ok(t, f.Start())
	t.Cleanup(func() { _ = f.Process.Kill(); _ = f.Wait() })
	return f
}

// status waits for its end.
func (f *container) status(t *testing.T) int {
	t.Helper()
	timer := time.AfterFunc(30*time.Second, func() { _ = f.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := f.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return f.ProcessState.ExitCode()
}

func (f *container) said(t *testing.T) string { t.Helper(); return read(t, f.log) }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	return string(b)
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
		"sleep 600 & exit 4": 4, // what it leaves behind does not delay its end
	} {
		f := start(t, nil, "sh", "-c", script)
		if got := f.status(t); got != want {
			t.Errorf("%s: status %d, want %d", script, got, want)
		}
		if _, err := os.Stat(f.fault); err == nil {
			t.Errorf("%s: there is a fault: %s", script, read(t, f.fault))
		}
	}
}

// A caller that finds no process has to know whether there ever was one.
func TestStartIsReported(t *testing.T) {
	exit := filepath.Join(t.TempDir(), "exit")
	f := start(t, nil, "-exit", exit, "sh", "-c", "cat "+exit+" && exit 3")
	if got := f.status(t); got != 3 || f.said(t) != "" {
		t.Errorf("status %d, log %q; want 3 and an empty file", got, f.said(t))
	}
	if got := read(t, exit); got != "3\n" {
		t.Errorf("the exit file is %q, want 3", got)
	}
}

func TestStartErrorsAreReported(t *testing.T) {
	dir := t.TempDir()
	plain, garbage, secrets := filepath.Join(dir, "plain"), filepath.Join(dir, "garbage"), filepath.Join(dir, "secrets")
	ok(t, os.WriteFile(plain, []byte("x"), 0o644))
	ok(t, os.WriteFile(garbage, []byte("\x00"), 0o755))
	ok(t, os.WriteFile(secrets, []byte(`{"PASSWORD": 12345`), 0o600))
	for name, c := range map[string]struct {
		args   []string
		status int
		fault  string
	}{
		"a name":          {[]string{"no-such-program"}, 127, `program "no-such-program" not found in the PATH of the image (/usr/bin:/bin)`},
		"a path":          {[]string{"/no/such"}, 127, `program "/no/such" not found in the image`},
		"a relative path": {[]string{"-dir", dir, "./such"}, 127, `program "./such" not found in the image`},
		"not a program":   {[]string{plain}, 127, fmt.Sprintf("program %q cannot be executed", plain)},
		"no known format": {[]string{garbage}, 126, fmt.Sprintf("start %q: fork/exec %s: exec format error", garbage, garbage)},
		"nothing":         {nil, 126, "no program to run"},
		"no folder":       {[]string{"-dir", "/no/such", "true"}, 126, "chdir /no/such: no such file or directory"},
		"no secrets":      {[]string{"-secrets", "/no/such", "true"}, 126, "read the secrets: open /no/such: no such file or directory"},
		"secrets cut off": {[]string{"-secrets", secrets, "true"}, 126, "read the secrets: they are not a JSON object of strings"},
		"no log to open":  {[]string{"-log", "/no/such", "true"}, 126, "open the log: open /no/such: no such file or directory"},
	} {
		f := start(t, nil, c.args...)
		if got := f.status(t); got != c.status {
			t.Errorf("%s: status %d, want %d", name, got, c.status)
		}
		if got := read(t, f.fault); got != c.fault+"\n" {
			t.Errorf("%s: fault %q\nwant %q", name, got, c.fault)
		}
		if got := f.said(t) + f.stderr.String(); got != "tenon: "+c.fault+"\n" {
			t.Errorf("%s: it said %q", name, got)
		}
	}
}

func TestBothOutputsKeepTheirOrder(t *testing.T) {
	f := start(t, nil, "sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done")
	if got := f.status(t); got != 0 {
		t.Fatalf("status %d", got)
	}
	if got, want := f.said(t), "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"; got != want {
		t.Errorf("the log is %q, want %q", got, want)
	}
}

// Secrets override variables of the same names, although a program would use the first.
func TestSecretsAreVariables(t *testing.T) {
	secrets := filepath.Join(t.TempDir(), "secrets")
	const text = `{"PASSWORD": "a b\nc", "EMPTY": "", "TOKEN": "x=y"}`
	ok(t, os.WriteFile(secrets, []byte(text), 0o400))
	f := start(t, []string{"PASSWORD=of the image", "OTHER=kept"}, "-secrets", secrets, "cat", "/proc/self/environ")
	if got := f.status(t); got != 0 {
		t.Fatalf("status %d: %s", got, f.said(t))
	}
	want := asRun + "=1\x00PATH=/usr/bin:/bin\x00OTHER=kept\x00EMPTY=\x00PASSWORD=a b\nc\x00TOKEN=x=y\x00"
	if got := f.said(t); got != want {
		t.Errorf("variables %q\nwant %q", got, want)
	}
	if read(t, secrets) != text {
		t.Error("it changed the file of secrets, which it may not write to")
	}
}

func TestSignalsReachTheProgram(t *testing.T) {
	f := start(t, nil, "sh", "-c", "trap 'exit 5' TERM; echo listens; while :; do sleep 0.01; done")
	eventually(t, "it listens", func() bool { return f.said(t) == "listens\n" })
	ok(t, f.Process.Signal(unix.SIGTERM))
	if got := f.status(t); got != 5 {
		t.Errorf("status %d, want 5", got)
	}
}

func TestRunsOnlyAsInit(t *testing.T) {
	cmd := exec.Command(os.Args[0], "echo", "ran")
	cmd.Env = []string{asRun + "=1", "PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 126 {
		t.Errorf("%v, want status 126", err)
	}
	if !strings.Contains(string(out), "first process of a container") || strings.Contains(string(out), "ran") {
		t.Errorf("it said %q", out)
	}
}
