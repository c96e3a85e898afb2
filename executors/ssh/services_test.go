package ssh_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/internal/test/sshtest"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// service makes a task that serves at a port.
func service(t *testing.T, runs, name string, port int) executors.Task {
	t.Helper()
	task := job(t, runs, name, "serve")
	task.Unit.ID, task.Unit.Kind, task.Unit.Outputs = "deployments/"+name, ir.Service, nil
	task.Unit.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: port, Ready: "/ready", Replicas: 1}
	return task
}

// says returns what a service answers on a host.
func says(h *sshtest.Host, port int) string {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + net.JoinHostPort(h.Address, strconv.Itoa(port)))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body) // a broken answer is the wrong one
	return string(b)
}

// Services answer at the addresses of their hosts, which jobs get that call them. Two with one port
// are on two hosts. The next version is where the former is, and a lost host loses its services.
func TestServices(t *testing.T) {
	const port = 8765
	l, runs := newLab(t), t.TempDir()
	executor := func() *ssh.Executor {
		return l.executor(t, func(o *ssh.Options) { o.Hosts, o.Runs, o.Patience = l.hosts("2"), runs, 500*time.Millisecond })
	}
	e := executor()
	api, other, third := service(t, runs, "api", port), service(t, runs, "other", port), service(t, runs, "third", port)
	other.Unit.Needs.MilliCPU = 100
	handle := apply(t, e, api)
	wait(t, e, handle, state.Ready)
	wait(t, e, apply(t, e, other), state.Ready)
	if want := "http://" + l.All[0].Address + ":8765"; handle.Endpoint != want {
		t.Errorf("the endpoint is %q, want %q", handle.Endpoint, want)
	}
	if a, b := says(l.All[0], port), says(l.All[1], port); a != "api" || b != "other" {
		t.Errorf("the hosts answer %q and %q", a, b)
	}
	_, err := e.Apply(within(t), third, nil)
	if err == nil || !strings.Contains(err.Error(), "port 8765 of "+l.All[0].Address+" is in use by deployments/api") || !strings.Contains(err.Error(), "is in use by deployments/other") {
		t.Errorf("where its port is taken everywhere: %v", err)
	}

	// The next version finds no room beside the former, whose place it takes nevertheless.
	next := service(t, runs, "api-2", port)
	next.Unit.ID, next.Unit.Needs.MilliCPU = api.Unit.ID, 1500
	began, err := executor().Apply(within(t), next, &handle)
	ok(t, err)
	t.Cleanup(func() { ok(t, executor().Destroy(t.Context(), began)) })
	wait(t, e, began, state.Ready)
	ok(t, e.Destroy(within(t), handle))
	if got := says(l.All[0], port); got != "api-2" {
		t.Errorf("after the change, the host answers %q", got)
	}

	called := func(name string) string {
		t.Helper()
		task := job(t, runs, name, "report")
		task.Unit.Inputs = []ir.Input{{Port: "model", Kind: ir.EndpointOf, Unit: api.Unit.ID}}
		task.Inputs = map[string]step.Port{"model": {Kind: ir.EndpointOf, Path: "http://127.0.0.1:8765"}}
		task.Unit.Needs.MilliCPU = 100
		wait(t, e, apply(t, e, task), state.Succeeded)
		b, err := os.ReadFile(filepath.Join(task.Dir, "out/out/found.json"))
		ok(t, err)
		return string(b)
	}
	if got := called("before"); !strings.Contains(got, `"http://`+l.All[0].Address+`:8765"`) {
		t.Errorf("the job was given %s", got)
	}

	// Whoever starts a service again whose host is lost finds another one.
	l.All[0].Kill(t)
	if st, err := e.Inspect(within(t), began); err != nil || st.Phase != state.Failed || !strings.Contains(st.Message, "host "+l.All[0].Address+" is lost") {
		t.Errorf("inspect gave %+v, %v", st, err)
	}
	next.Unit.Endpoint.Port++
	moved, err := e.Apply(within(t), next, nil)
	ok(t, err)
	t.Cleanup(func() { ok(t, executor().Destroy(t.Context(), moved)) })
	wait(t, e, moved, state.Ready)
	if got := says(l.All[1], port+1); got != "api-2" {
		t.Errorf("the other host answers %q", got)
	}
	if got := called("after"); !strings.Contains(got, `"http://`+l.All[1].Address+`:8765"`) {
		t.Errorf("the job was given %s", got)
	}
	l.All[0].Start(t)
	wait(t, executor(), apply(t, executor(), job(t, runs, "last", "exit", "0")), state.Succeeded)
	if dirs := l.runs(next); len(dirs) != 1 || !strings.HasPrefix(dirs[0], l.All[1].Home) {
		t.Errorf("hosts have %q", dirs)
	}
}

// The cheapest host that has room is used.
func TestCheapest(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	e := l.executor(t, func(o *ssh.Options) {
		o.Runs, o.Hosts = runs, l.hosts("1")
		o.Hosts[0].Price, o.Hosts[1].Price = "10 USD/h", "2.10 USD/h"
	})
	first, second := job(t, runs, "first", "sleep"), job(t, runs, "second", "sleep")
	apply(t, e, first)
	apply(t, e, second)
	if l.on(t, first) != l.All[1] || l.on(t, second) != l.All[0] {
		t.Errorf("the first job is on %s, the second on %s", l.on(t, first).Address, l.on(t, second).Address)
	}
}
