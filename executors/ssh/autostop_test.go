package ssh_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/internal/test/sshtest"
	"github.com/tenon-ml/tenon/planner/state"
)

// idle is how long hosts of these tests may have nothing to do.
const idle = 700 * time.Millisecond

// stops makes the hosts of a lab stop themselves, with a script, and starts them with a command of this
// machine. It returns how to make an executor, and how often each was started.
func stops(t *testing.T, l *lab, script string) (executor func(...func(*ssh.Options)) *ssh.Executor, started func(int) int) {
	t.Helper()
	dir := t.TempDir()
	var mu sync.Mutex
	starts := make([]int, len(l.All))
	for i, h := range l.All {
		h.Script(t, "stop", script)
		t.Cleanup(func() { ok(t, os.RemoveAll(filepath.Join(h.Home, ".cache/tenon/ssh/autostop"))) })
		asked := filepath.Join(dir, h.Address)
		over := make(chan struct{})
		go func() { // what the API of a cloud does
			defer close(over)
			for ctx := t.Context(); ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
				if _, err := os.Stat(asked); err != nil || !h.Down(t) {
					continue
				}
				h.Kill(t)
				h.Start(t)
				mu.Lock()
				starts[i]++
				mu.Unlock()
				ok(t, os.Remove(asked))
			}
		}()
		t.Cleanup(func() { <-over })
	}
	executor = func(change ...func(*ssh.Options)) *ssh.Executor {
		return l.executor(t, append([]func(*ssh.Options){func(o *ssh.Options) {
			o.Quick = 3 * time.Second
			o.Autostop = &ssh.Autostop{After: idle.String(), Command: []string{"stop"}}
			for i := range o.Hosts {
				o.Hosts[i].Start = []string{"touch", filepath.Join(dir, o.Hosts[i].Address)}
			}
		}}, change...)...)
	}
	started = func(i int) int { mu.Lock(); defer mu.Unlock(); return starts[i] }
	return executor, started
}

// A host stops itself once it has had nothing to do, whether any tenon runs or not, and is started when a
// job needs it. What runs there keeps it.
func TestAutostop(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	executor, started := stops(t, l, sshtest.PowerOff)
	in := func(o *ssh.Options) { o.Runs = runs }
	e := executor(in)
	first := job(t, runs, "first", "lines", "12", "100ms") // longer than the host may be idle
	_, err := e.Apply(within(t), first, nil)
	ok(t, err)
	ok(t, e.Close()) // this tenon is gone
	eventually(t, "the host stops", func() bool { return l.All[0].Down(t) })
	if l.All[1].Down(t) {
		t.Error("a host stopped itself to which no tenon has connected")
	}

	// What the job made is on the disk of the host.
	e = executor(in)
	h, err := e.Find(within(t), first.Name, first.Dir)
	ok(t, err)
	if h == nil || started(0) != 1 {
		t.Fatalf("found %v after %d starts", h, started(0))
	}
	wait(t, e, *h, state.Succeeded)
	if b, err := os.ReadFile(filepath.Join(first.Dir, "log")); err != nil || !strings.HasSuffix(string(b), "line 11\n") {
		t.Errorf("the log is %q, %v", b, err)
	}
	ok(t, e.Destroy(within(t), *h))
	eventually(t, "the host stops again", func() bool { return l.All[0].Down(t) })

	// A host that runs is used before one is started, although that is listed first.
	api := service(t, runs, "api", 8768)
	api.Unit.Needs.MilliCPU = 40_000
	on := apply(t, e, api)
	wait(t, e, on, state.Ready)
	if l.on(t, api) != l.All[1] || started(0) != 1 {
		t.Errorf("the service is not on the host that ran; %d starts", started(0))
	}
	large := job(t, runs, "large", "exit", "0")
	large.Unit.Needs.MilliCPU = 40_000 // for which the other host has no room
	wait(t, e, apply(t, e, large), state.Succeeded)
	if l.on(t, large) != l.All[0] || started(0) != 2 {
		t.Errorf("the job did not start a host; %d starts", started(0))
	}
	eventually(t, "the host stops", func() bool { return l.All[0].Down(t) })
	if l.All[1].Down(t) {
		t.Fatal("a host that serves has stopped")
	}
	ok(t, e.Destroy(within(t), on))
	eventually(t, "the host without its service stops", func() bool { return l.All[1].Down(t) })

	// A target that no longer has autostop keeps its hosts.
	for _, h := range l.All {
		h.Kill(t)
		h.Start(t)
	}
	ssh.ForgetLost()
	e = l.executor(t, in)
	wait(t, e, apply(t, e, job(t, runs, "last", "exit", "0")), state.Succeeded)
	time.Sleep(2 * idle)
	if l.All[0].Down(t) {
		t.Error("a host stopped itself although the target no longer has autostop")
	}
}

// A job that ended while no tenon was connected has not failed because its host stopped itself: whoever waits for it starts the
// host and fetches the result. Until then, or for as long as the target says, the host does not stop.
func TestResultsAreFetchedFromStoppedHosts(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	executor, started := stops(t, l, sshtest.PowerOff)
	one := func(o *ssh.Options) { o.Runs, o.Patience, o.Hosts = runs, 300*time.Millisecond, o.Hosts[:1] }
	policy := filepath.Join(l.All[0].Home, ".cache/tenon/ssh/autostop/policy.json")
	e := executor(one, func(o *ssh.Options) { o.Quick = time.Minute })
	if _, err := e.Admit(within(t), []ir.Unit{{}}); err != nil || e.Connections() != 1 {
		t.Fatalf("a plan made %d connections: %v", e.Connections(), err)
	}
	if _, err := os.Stat(policy); err == nil {
		t.Error("a plan has set when the host stops itself")
	}
	first := job(t, runs, "first", "lines", "3", "100ms")
	h, err := e.Apply(within(t), first, nil)
	ok(t, err)
	ok(t, e.Close())
	eventually(t, "the host stops", func() bool { return l.All[0].Down(t) })

	e = executor(one)
	wait(t, e, h, state.Succeeded)
	if n := l.Starts(t, first); n != 1 || started(0) != 1 {
		t.Errorf("the job was started %d times, and its host %d times", n, started(0))
	}
	ok(t, e.Destroy(within(t), h))

	hold := func(o *ssh.Options) { o.Autostop.Results = "1h" }
	e = executor(one, hold)
	second := job(t, runs, "second", "exit", "0")
	h, err = e.Apply(within(t), second, nil)
	ok(t, err)
	ok(t, e.Close())
	time.Sleep(3 * idle)
	if l.All[0].Down(t) {
		t.Fatal("the host stopped itself before the result was fetched")
	}
	e = executor(one, hold)
	wait(t, e, h, state.Succeeded)
	ok(t, e.Destroy(within(t), h))
	ok(t, e.Close())
	eventually(t, "the host stops", func() bool { return l.All[0].Down(t) })

	// Where no other machine has started anything, a task without a note is on no host that is stopped.
	for _, shared := range []bool{false, true} {
		ssh.ForgetLost()
		e = executor(one, func(o *ssh.Options) { o.Quick, o.Shared = 500*time.Millisecond, shared })
		before := started(0) // a slow machine may have started it more often
		if h, err := e.Find(within(t), "unknown", filepath.Join(runs, "unknown")); err != nil || h != nil {
			t.Errorf("found %v, %v", h, err)
		}
		if starts := started(0) - before; (starts > 0) != shared {
			t.Errorf("in a state that is shared (%t), looking for a task made %d starts", shared, starts)
		}
	}
}

// A job whose host cannot be started again was interrupted, as on any host that is lost.
func TestAHostThatCannotBeStartedIsLost(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	e := l.executor(t, func(o *ssh.Options) {
		o.Runs, o.Patience, o.Hosts, o.Autostop = runs, 300*time.Millisecond, o.Hosts[:1], &ssh.Autostop{After: "1h"}
		o.Hosts[0].Start = []string{"nothing-" + filepath.Base(runs)}
	})
	h := apply(t, e, job(t, runs, "first", "lines", "100", "100ms"))
	l.All[0].Kill(t)
	t.Cleanup(func() {
		ok(t, os.RemoveAll(filepath.Join(l.All[0].Home, ".cache/tenon/ssh/autostop")))
		l.All[0].Start(t)
	})
	st, err := e.Wait(within(t), h)
	if err != nil || st.Phase != state.Failed || !st.Interrupted || !strings.Contains(st.Message, "which starts it, cannot run") {
		t.Errorf("%+v, %v", st, err)
	}
}

// A job that needs GPUs starts hosts that declare enough of them, then those that do not say, and never one that has fewer.
func TestHostsThatAreStartedForGPUs(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	for _, h := range l.All {
		h.Kill(t)
	}
	t.Cleanup(func() {
		for _, h := range l.All {
			h.Start(t)
		}
	})
	for _, c := range []struct {
		first, second *ssh.GPUs
		want          string // hosts in the order in which they are started
	}{
		{&ssh.GPUs{Count: 0}, nil, "1 "},
		{nil, &ssh.GPUs{Count: 2, Model: "NVIDIA A100-SXM4-40GB", Memory: "40GiB"}, "1 0 "},
		{&ssh.GPUs{Count: 1}, &ssh.GPUs{Count: 2, Model: "NVIDIA T4"}, ""},
		{&ssh.GPUs{Count: 2, Memory: "16GiB"}, &ssh.GPUs{Count: 2, Memory: "24GiB"}, "1 "},
	} {
		ssh.ForgetLost()
		order := filepath.Join(t.TempDir(), "order")
		e := l.executor(t, func(o *ssh.Options) {
			o.Runs, o.Quick, o.Patience, o.Autostop = runs, 200*time.Millisecond, 100*time.Millisecond, &ssh.Autostop{After: "1h"}
			for i, gpu := range []*ssh.GPUs{c.first, c.second} {
				o.Hosts[i].GPU, o.Hosts[i].StartWithin = gpu, "300ms"
				o.Hosts[i].Start = []string{"sh", "-c", fmt.Sprintf("printf '%d ' >> %s; exit 3", i, order)}
			}
		})
		task := job(t, runs, "case", "exit", "0")
		task.Unit.Needs = ir.Resources{GPU: 2, GPUModel: "A100", GPUMemory: 20 << 30}
		if _, err := e.Apply(within(t), task, nil); err == nil {
			t.Error("it runs")
		}
		if got, _ := os.ReadFile(order); string(got) != c.want {
			t.Errorf("hosts with %+v and %+v are started in the order %q, want %q", c.first, c.second, got, c.want)
		}
		ok(t, e.Close())
	}
}

// No job starts on a host that is going down: it runs on another one, or once that is up again.
func TestAutostopRace(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	executor, started := stops(t, l, "echo >~/asked; sleep 1; "+sshtest.PowerOff)
	e := executor(func(o *ssh.Options) { o.Runs, o.Hosts = runs, o.Hosts[:1] })
	wait(t, e, apply(t, e, job(t, runs, "first", "exit", "0")), state.Succeeded)
	asked := filepath.Join(l.All[0].Home, "asked")
	eventually(t, "the host is asked to stop", func() bool { _, err := os.Stat(asked); return err == nil })
	second := job(t, runs, "second", "exit", "0")
	wait(t, e, apply(t, e, second), state.Succeeded)
	if n := started(0); n != 1 || l.Starts(t, second) != 1 {
		t.Errorf("after %d starts of the host, the job was started %d times", n, l.Starts(t, second))
	}
}

// A host that cannot stop itself says so: before anything runs if that is certain, and later otherwise.
func TestAutostopFails(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	executor, _ := stops(t, l, "echo no power >&2; exit 1")
	var mu sync.Mutex
	var warned []string
	e := executor(func(o *ssh.Options) {
		o.Runs, o.Hosts, o.Idle = runs, o.Hosts[:1], 100*time.Millisecond
		o.Warn = func(err error) { mu.Lock(); defer mu.Unlock(); warned = append(warned, err.Error()) }
	})
	wait(t, e, apply(t, e, job(t, runs, "first", "exit", "0")), state.Succeeded)
	failed := filepath.Join(l.All[0].Home, ".cache/tenon/ssh/autostop/failed")
	eventually(t, "the host fails to stop", func() bool { _, err := os.Stat(failed); return err == nil && e.Connections() == 0 })
	wait(t, e, apply(t, e, job(t, runs, "second", "exit", "0")), state.Succeeded)
	mu.Lock()
	if got := strings.Join(warned, "\n"); !strings.Contains(got, "host "+l.All[0].Address+" was idle and is not stopped: `/root/bin/stop`: exit status 1: no power") {
		t.Errorf("the warnings are %q", got)
	}
	mu.Unlock()

	l.All[0].Script(t, "sudo", `[ "$*" != "-n -l poweroff" ]`)
	for _, tt := range []struct {
		command string
		want    string
	}{
		{"sudo -n poweroff", "the user may not run `poweroff` as root without a password: put `root ALL=(root) NOPASSWD: "},
		{"nothing", `it has no program "nothing"`},
	} {
		e := executor(func(o *ssh.Options) {
			o.Runs, o.Hosts, o.Autostop.Command = runs, o.Hosts[:1], strings.Fields(tt.command)
		})
		var lacks *executors.LackingError
		if _, err := e.Admit(within(t), []ir.Unit{{}}); !errors.As(err, &lacks) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("before a plan with %q: %v", tt.command, err)
		}
		if _, err := e.Apply(within(t), job(t, runs, "third", "exit", "0"), nil); err == nil || !strings.Contains(err.Error(), "no host can run it") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("apply with %q: %v", tt.command, err)
		}
	}
}

// A host that cannot be started is lost, and the error says what its command said.
func TestStartFails(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	for _, h := range l.All {
		h.Kill(t)
	}
	t.Cleanup(func() {
		for _, h := range l.All {
			h.Start(t)
		}
	})
	e := l.executor(t, func(o *ssh.Options) {
		o.Runs, o.Quick, o.Patience, o.Autostop = runs, time.Second, 200*time.Millisecond, &ssh.Autostop{After: "1h"}
		o.Hosts[0].Start, o.Hosts[0].StartWithin = []string{"sh", "-c", "echo no capacity in the zone; exit 3"}, "1s"
		o.Hosts[1].Start = []string{"nothing-" + runs}
	})
	_, err := e.Apply(within(t), job(t, runs, "case", "exit", "0"), nil)
	for _, want := range []string{
		"host " + l.All[0].Address + " is stopped or lost: it did not answer within 1s after `sh -c echo no capacity in the zone; exit 3`: ", "exit status 3: no capacity in the zone",
		"host " + l.All[1].Address + ": `nothing-" + runs + "`, which starts it, cannot run: ",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("apply gave %v, want %q", err, want)
		}
	}
}
