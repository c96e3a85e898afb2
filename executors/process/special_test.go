package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func mkdir(tb testing.TB, dir string) {
	tb.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
}

func sh(t *testing.T, script string) executors.Task {
	t.Helper()
	return command(t, t.TempDir(), "/bin/sh", "-c", script)
}

// run applies the task and waits for its end.
func run(t *testing.T, e *process.Executor, task executors.Task) (state.Handle, state.Status) {
	t.Helper()
	h := apply(t, e, task)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	st, err := e.Wait(ctx, h)
	if err != nil {
		t.Fatal(err)
	}
	return h, st
}

func apply(t *testing.T, e *process.Executor, task executors.Task) state.Handle {
	t.Helper()
	h, err := e.Apply(t.Context(), task, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := newExecutor(process.Options{Grace: time.Millisecond}).Destroy(context.Background(), h); err != nil {
			t.Error(err)
		}
	})
	return h
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
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

func gone(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(b), ") Z ")
}

func pidIn(t *testing.T, path string) int {
	t.Helper()
	var pid int
	eventually(t, path, func() bool {
		b, _ := os.ReadFile(path)
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		pid = n
		return err == nil && strings.HasSuffix(string(b), "\n")
	})
	return pid
}

func TestOnlyAllowedVariablesArePassedOn(t *testing.T) {
	e := newExecutor(process.Options{Env: []string{
		"PATH=/usr/bin:/bin", "HOME=/home/x", "LC_TIME=leak", "LANGUAGE=leak", "TZ=leak", "https_proxy=http://proxy:1", "AWS_SECRET_ACCESS_KEY=leak",
		"LD_PRELOAD=/leak.so", "PYTHONPATH=/leak", "TMPDIR=/leak", "TENON_STEP=/leak", "OMP_NUM_THREADS=99",
	}})
	task := command(t, t.TempDir(), "env")
	task.Env = map[string]string{"HOME": "/secret/home", "PASSWORD": "a b\nc"}
	task.Unit.Seed = -1
	if _, st := run(t, e, task); st.Phase != state.Succeeded {
		t.Fatalf("%+v", st)
	}
	log := read(t, filepath.Join(task.Dir, "log"))
	for _, want := range []string{
		"PATH=/usr/bin:/bin\n", "HOME=/secret/home\n", "TZ=UTC\n", "LANG=C.UTF-8\n", "LC_ALL=C.UTF-8\n", "https_proxy=http://proxy:1\n", "PASSWORD=a b\nc\n",
		"TMPDIR=" + filepath.Join(task.Dir, "scratch") + "\n", "TENON_STEP=" + filepath.Join(task.Dir, "step.json") + "\n",
		"OMP_NUM_THREADS=1\n", "PYTHONHASHSEED=4294967295\n", "PYTHONUNBUFFERED=1\n", "PYTHONDONTWRITEBYTECODE=1\n",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the environment lacks %q", want)
		}
	}
	if strings.Contains(log, "leak") || strings.Contains(log, "_tenon") || strings.Contains(log, "=99\n") {
		t.Errorf("the environment holds too much:\n%s", log)
	}
}

// environments fakes the environments: one interpreter, or an error.
type environments struct {
	python string
	err    error
}

func (e environments) Ensure(_ context.Context, _ []byte, tell func(pyenv.Progress)) (string, error) {
	if tell != nil {
		tell(pyenv.Progress{Stage: pyenv.Fetching, Packages: 3, Bytes: 1 << 20, Total: 4 << 20})
	}
	return e.python, e.err
}

func (e environments) Version(context.Context, bool) (string, error) { return "3.11.7", e.err }

func (e environments) Missing([]byte) *pyenv.Missing {
	return &pyenv.Missing{Packages: []pyenv.Package{{Name: "six==1", Bytes: 9}}, Problem: e.err}
}

// lockFile returns a lock file that locks nothing.
func lockFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnEnvironmentIsPrepared(t *testing.T) {
	task := executors.Task{Unit: ir.Unit{Code: ir.Code{Runtime: ir.Python, Lock: "sha256:0123456789"}}, Lock: lockFile(t)}
	e := newExecutor(process.Options{Python: environments{python: "python"}})
	if got := e.Prepares(task.Unit, ""); got != "Python environment 01234567" {
		t.Errorf("it prepares %q", got)
	}
	var said step.Progress
	if err := e.Prepare(t.Context(), task, func(p step.Progress) { said = p }); err != nil {
		t.Fatal(err)
	}
	if said.Message != "3 packages, 1 MiB downloaded" {
		t.Errorf("it says %+v", said)
	}
	broken := newExecutor(process.Options{Python: environments{err: pyenv.ErrNoUV}})
	if err := broken.Prepare(t.Context(), task, func(step.Progress) {}); !errors.Is(err, pyenv.ErrNoUV) {
		t.Errorf("prepare gave %v", err)
	}
	m := broken.Missing(task.Unit, "", nil)
	if m.Problem != pyenv.ErrNoUV.Error() || len(m.Packages) != 1 || m.Packages[0].Bytes != 9 {
		t.Errorf("missing is %+v", m)
	}
	for _, u := range []ir.Unit{{Code: ir.Code{Runtime: ir.Builtin, Lock: "sha256:01"}}, {Code: ir.Code{Runtime: ir.Command}}} {
		if got := e.Prepares(u, ""); got != "" {
			t.Errorf("of a unit without an environment it prepares %q", got)
		}
	}
}

func TestRuntimes(t *testing.T) {
	venv := filepath.Join(t.TempDir(), "venv")
	bin := filepath.Join(venv, "bin")
	mkdir(t, bin)
	for _, name := range []string{"python", "tool"} {
		script := "#!/bin/sh\necho " + name + ` "$@" $VIRTUAL_ENV` + "\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e := newExecutor(process.Options{
		Programs: executors.Programs{Duck: func(context.Context) (string, error) { return filepath.Join(bin, "python"), nil }},
		Python:   environments{python: filepath.Join(bin, "python")},
	})
	for _, c := range []struct {
		code ir.Code
		want string
	}{
		{ir.Code{Runtime: ir.Python, Lock: "sha256:0", Command: []string{"train.py", "-x"}}, "python train.py -x " + venv},
		{ir.Code{Runtime: ir.Command, Lock: "sha256:0", Command: []string{"tool", "1"}}, "tool 1 " + venv},
		{ir.Code{Runtime: ir.Builtin}, "python step"},
	} {
		task := command(t, t.TempDir())
		task.Unit.Code, task.Lock = c.code, lockFile(t)
		if _, st := run(t, e, task); st.Phase != state.Succeeded {
			t.Errorf("%s: %+v", c.code.Runtime, st)
		}
		if got := strings.TrimSpace(read(t, filepath.Join(task.Dir, "log"))); got != c.want {
			t.Errorf("%s ran %q, want %q", c.code.Runtime, got, c.want)
		}
	}
}

func TestAProgramSeesTheDevicesItWasLent(t *testing.T) {
	for _, c := range []struct {
		name    string
		devices []executors.Device
		want    string
	}{
		{"two", []executors.Device{{Name: "nvidia.com/gpu=0", ID: "GPU-1"}, {Name: "nvidia.com/gpu=1:0", ID: "MIG-2", Part: "1g.5gb"}}, "GPU-1,MIG-2"},
		{"none of those that are lent", []executors.Device{}, ""},
		{"nothing is lent", nil, "unset"},
	} {
		task := sh(t, `echo "${CUDA_VISIBLE_DEVICES-unset} ${NVIDIA_VISIBLE_DEVICES-unset}"`)
		task.Devices = c.devices
		run(t, newExecutor(process.Options{Env: []string{"PATH=/usr/bin:/bin", "CUDA_VISIBLE_DEVICES=7"}}), task)
		if got, want := read(t, filepath.Join(task.Dir, "log")), c.want+" "+c.want+"\n"; got != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
	}
}

func TestAnEnvironmentThatCannotBeMadeIsAnErrorOfApply(t *testing.T) {
	broken := errors.New("no network")
	e := newExecutor(process.Options{Python: environments{err: broken}})
	task := command(t, t.TempDir(), "train.py")
	task.Unit.Code.Runtime, task.Unit.Code.Lock, task.Lock = ir.Python, "sha256:0", lockFile(t)
	if _, err := e.Apply(t.Context(), task, nil); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "start steps/x/run: ") {
		t.Errorf("apply gave %v", err)
	}
}

func TestCheckNamesEveryUnsupportedField(t *testing.T) {
	e := newExecutor(process.Options{})
	ok := command(t, t.TempDir(), "true").Unit
	for _, c := range []struct {
		field  string
		change func(*ir.Unit)
	}{
		{"", func(*ir.Unit) {}},
		{"", func(u *ir.Unit) { u.Needs.GPU, u.Needs.GPUModel = 1, "h200" }},
		{"needs.disk", func(u *ir.Unit) {
			u.Kind, u.Needs.Disk, u.Endpoint = ir.Service, 1, &ir.Endpoint{Host: "127.0.0.1", Port: 80}
		}},
		{"", func(u *ir.Unit) { u.Kind = ir.Service }},
		{"port", func(u *ir.Unit) { u.Kind, u.Endpoint = ir.Service, &ir.Endpoint{Host: "127.0.0.1"} }},
		{"code.command", func(u *ir.Unit) { u.Code.Command = nil }},
		{"packages", func(u *ir.Unit) { u.Code.Runtime = ir.Python }},
		{"code.runtime", func(u *ir.Unit) { u.Code.Runtime = "wasm" }},
		{"secrets", func(u *ir.Unit) { u.Secrets = []ir.Secret{{Name: "TENON_STEP", Env: "X"}} }},
	} {
		u := ok
		c.change(&u)
		var fields []string
		for _, f := range e.Check(u) {
			fields = append(fields, f.Field)
		}
		if got := strings.Join(fields, " "); got != c.field {
			t.Errorf("check found %q, want %q", got, c.field)
		}
	}
}

func TestExitIsNoticedWithinMilliseconds(t *testing.T) {
	e := newExecutor(process.Options{})
	for name, waiter := range map[string]*process.Executor{"own": e, "adopted": newExecutor(process.Options{})} {
		task := sh(t, "sleep 0.2")
		h := apply(t, e, task)
		if _, err := waiter.Wait(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		fi, err := os.Stat(filepath.Join(task.Dir, "exit"))
		if err != nil {
			t.Fatal(err)
		}
		late := now.Sub(fi.ModTime())
		t.Logf("%s: known %v after it was recorded", name, late)
		if late > 50*time.Millisecond { // not a measurement: the machine may be busy
			t.Errorf("%s: known only after %v", name, late)
		}
	}
}

func TestUsageIsThatOfTheProgram(t *testing.T) {
	e := newExecutor(process.Options{})
	// The shell's arithmetic uses time, its variable memory.
	_, st := run(t, e, sh(t, `i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; x=$(head -c 150000000 /dev/zero | tr '\0' x)`))
	if st.Phase != state.Succeeded || st.Usage.CPU < 20*time.Millisecond || st.Usage.PeakMem < 140_000_000 {
		t.Errorf("%+v", st)
	}
	// An unknown peak is not reported: it would be tenon's own memory.
	if _, st = run(t, e, sh(t, "true")); st.Usage.PeakMem != 0 {
		t.Errorf("peak memory of a tiny program is %d, want it unknown", st.Usage.PeakMem)
	}
}

// Whoever reads an output can rely on it that nobody of its job still writes.
func TestNothingOfAJobOutlivesIt(t *testing.T) {
	for name, script := range map[string]string{
		"in the group of its job":             `sleep 60 & echo $! >"$TMPDIR/pid"`,
		"in a group of its own":               `set -m; sleep 60 & echo $! >"$TMPDIR/pid"`,
		"in a session of its own":             `setsid sh -c 'echo $$ >"$TMPDIR/pid"; exec sleep 60' & while ! [ -s "$TMPDIR/pid" ]; do sleep 0.01; done`,
		"there with another environment":      `setsid env -i sh -c 'echo $$ >"$1"; exec sleep 60' sh "$TMPDIR/pid" & while ! [ -s "$TMPDIR/pid" ]; do sleep 0.01; done`,
		"there, and ignoring that it must go": `setsid sh -c 'trap "" TERM; echo $$ >"$TMPDIR/pid"; while :; do sleep 1; done' & while ! [ -s "$TMPDIR/pid" ]; do sleep 0.01; done`,
	} {
		t.Run(name, func(t *testing.T) {
			task := sh(t, script)
			_, st := run(t, newExecutor(process.Options{Grace: 50 * time.Millisecond}), task)
			if pid := pidIn(t, filepath.Join(task.Dir, "scratch", "pid")); st.Phase != state.Succeeded || !st.Over || !gone(pid) {
				t.Errorf("the process is gone: %v; status %+v", gone(pid), st)
			}
		})
	}
}

func TestLeftoverProcessesAreAskedToStop(t *testing.T) {
	task := sh(t, `setsid sh -c 'trap "echo goodbye; exit" TERM; echo $$ >"$TMPDIR/pid"; while :; do sleep 0.01; done' &
		while ! [ -s "$TMPDIR/pid" ]; do sleep 0.01; done`)
	if _, st := run(t, newExecutor(process.Options{}), task); st.Phase != state.Succeeded {
		t.Fatalf("%+v", st)
	}
	if got := read(t, filepath.Join(task.Dir, "log")); !strings.Contains(got, "goodbye\n") {
		t.Errorf("the log is %q", got)
	}
}

func TestDestroyFindsWhatHasLeftTheSession(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, leader int){
		"": func(*testing.T, int) {},
		" after tenon-run was killed": func(t *testing.T, leader int) {
			if err := syscall.Kill(leader, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "tenon-run is gone", func() bool { return gone(leader) })
		},
	} {
		t.Run("Destroy"+name, func(t *testing.T) {
			e := newExecutor(process.Options{Grace: 50 * time.Millisecond})
			task := sh(t, `setsid sh -c 'trap "" TERM; echo $$ >"$TMPDIR/pid"; while :; do sleep 1; done' & sleep 60`)
			h := apply(t, e, task)
			pid := pidIn(t, filepath.Join(task.Dir, "scratch", "pid"))
			var its struct{ Pid int }
			if err := json.Unmarshal(h.Data, &its); err != nil {
				t.Fatal(err)
			}
			before(t, its.Pid)
			if err := e.Destroy(t.Context(), h); err != nil {
				t.Fatal(err)
			}
			if !gone(pid) {
				t.Error("it still lives")
			}
		})
	}
}

func TestJobWithoutOutputsEnds(t *testing.T) {
	if _, st := run(t, newExecutor(process.Options{}), sh(t, "(sleep 0.01); true")); st.Phase != state.Succeeded || !st.Over {
		t.Errorf("%+v", st)
	}
}

// change rewrites the task state in the folder and in the handle.
func change(t *testing.T, task executors.Task, h state.Handle, f func(map[string]any)) state.Handle {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal(h.Data, &m); err != nil {
		t.Fatal(err)
	}
	f(m)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(task.Dir, "process.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	h.Data = b
	return h
}

func TestARecycledPidIsNeverKilled(t *testing.T) {
	for field, other := range map[string]any{"start": 1, "boot": "another boot"} {
		e := newExecutor(process.Options{Grace: time.Millisecond})
		task := sh(t, "exit 0")
		h, _ := run(t, e, task)
		innocent := apply(t, e, sh(t, "sleep 60"))
		var its struct{ Pid int }
		if err := json.Unmarshal(innocent.Data, &its); err != nil {
			t.Fatal(err)
		}
		h = change(t, task, h, func(m map[string]any) { m["pid"], m[field] = its.Pid, other })
		if err := os.Remove(filepath.Join(task.Dir, "exit")); err != nil {
			t.Fatal(err)
		}
		if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Failed {
			t.Errorf("%s: %+v, %v", field, st, err)
		}
		if err := e.Destroy(t.Context(), h); err != nil {
			t.Error(err)
		}
		if st, err := e.Inspect(t.Context(), innocent); err != nil || st.Phase != state.Running {
			t.Errorf("%s: the innocent process is %+v, %v", field, st, err)
		}
	}
}

func TestMachineRestartIsReported(t *testing.T) {
	e := newExecutor(process.Options{})
	task := sh(t, "exit 0")
	h, _ := run(t, e, task)
	h = change(t, task, h, func(m map[string]any) { m["boot"] = "another boot" })
	// A job that ended before the restart keeps its status.
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Succeeded {
		t.Errorf("%+v, %v", st, err)
	}
	if err := os.Remove(filepath.Join(task.Dir, "exit")); err != nil {
		t.Fatal(err)
	}
	st, err := e.Inspect(t.Context(), h)
	if err != nil || st.Phase != state.Failed || !strings.Contains(st.Message, "the machine was restarted") {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestThatTenonRunWasKilledIsTold(t *testing.T) {
	e := newExecutor(process.Options{Grace: 50 * time.Millisecond})
	task := sh(t, `echo $$ >"$TMPDIR/pid"; exec sleep 60`)
	h := apply(t, e, task)
	pid := pidIn(t, filepath.Join(task.Dir, "scratch", "pid"))
	var its struct{ Pid int }
	if err := json.Unmarshal(h.Data, &its); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(its.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	st, err := e.Wait(t.Context(), h)
	if err != nil || st.Phase != state.Failed || !strings.Contains(st.Message, "tenon-run, which started it, was killed") {
		t.Errorf("%+v, %v", st, err)
	}
	if err := e.Destroy(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if !gone(pid) {
		t.Error("the program still lives")
	}
}

func TestOutOfMemoryIsDistinguishedFromOtherKills(t *testing.T) {
	e := newExecutor(process.Options{})
	task := sh(t, "kill -KILL $$")
	h, st := run(t, e, task)
	if st.Message != "killed by SIGKILL (not because of memory: the kernel killed nothing in the meantime)" {
		t.Errorf("message is %q", st.Message)
	}
	// As if the kernel had killed one process since the start.
	if err := os.WriteFile(filepath.Join(task.Dir, "exit"), []byte("137 1000000 .\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	st, err := e.Inspect(t.Context(), h)
	if err != nil || st.Message != "killed by SIGKILL: the kernel ran out of memory while it ran" {
		t.Errorf("message is %q, %v", st.Message, err)
	}
}

func TestAFolderIsOfOneTaskAtATime(t *testing.T) {
	e := newExecutor(process.Options{})
	task := sh(t, "sleep 60")
	apply(t, e, task)
	task.Name = "another"
	if _, err := e.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), "in use by steps-x-run-k-1") {
		t.Errorf("apply gave %v", err)
	}
}

func TestTruncatedTaskStateIsIgnored(t *testing.T) {
	e := newExecutor(process.Options{})
	task := sh(t, "exit 3")
	if err := os.WriteFile(filepath.Join(task.Dir, "process.json"), []byte(`{"name":`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, st := run(t, e, task); st.ExitCode != 3 {
		t.Errorf("%+v", st)
	}
}

func TestProgramWithoutPermissionIsExplainedInTheLog(t *testing.T) {
	e := newExecutor(process.Options{})
	file := filepath.Join(t.TempDir(), "data.txt")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	task := command(t, t.TempDir(), file)
	_, st := run(t, e, task)
	if log := read(t, filepath.Join(task.Dir, "log")); st.ExitCode != 126 || !strings.Contains(log, "ermission denied") {
		t.Errorf("%+v, log %q", st, log)
	}
}
