package ssh_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/internal/test/sshtest"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Programs that run on hosts, also for the tenons that tests start and kill.
const (
	runnerVar = "TENON_TEST_RUNNER"
	hostVar   = "TENON_TEST_HOST"
)

func TestMain(m *testing.M) {
	executortest.Main(m, func(dir string) (func() error, error) {
		var err error
		for variable, name := range map[string]string{runnerVar: "tenon-run", hostVar: "tenon-host"} {
			path := filepath.Join(dir, name)
			err = errors.Join(err, os.Setenv(variable, path), executortest.BuildStatic(path, "github.com/tenon-ml/tenon/cmd/"+name))
		}
		return func() error { return nil }, err
	})
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A lab is a target with two hosts.
type lab struct {
	*sshtest.Hosts

	mu     sync.Mutex
	starts map[string]int // of tasks that were removed, by name
}

func newLab(t testing.TB) *lab {
	t.Helper()
	ssh.ForgetLost()
	return &lab{Hosts: sshtest.Up(t), starts: map[string]int{}}
}

// hosts are those of the target, with the same cores for each.
func (l *lab) hosts(cpu string) (all []ssh.Host) {
	for _, h := range l.All {
		all = append(all, ssh.Host{Address: h.Address, Port: 22, User: "root", Key: l.Key, HostKey: h.HostKey, CPU: json.Number(cpu), Memory: "64GiB"})
	}
	return all
}

func (l *lab) executor(t testing.TB, change ...func(*ssh.Options)) *ssh.Executor {
	t.Helper()
	o := ssh.Options{
		Settings: ssh.Settings{Hosts: l.hosts("64")}, Runner: os.Getenv(runnerVar), Host: os.Getenv(hostVar), Grace: 500 * time.Millisecond,
	}
	for _, c := range change {
		c(&o)
	}
	e := ssh.New(o)
	t.Cleanup(func() { ok(t, e.Close()) })
	return e
}

// runs returns the folders that hosts have of a task.
func (l *lab) runs(task executors.Task) (dirs []string) {
	for _, h := range l.All {
		records, _ := filepath.Glob(filepath.Join(h.Home, ".cache/tenon/ssh/runs/*/host.json"))
		for _, path := range records {
			if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), `"name":"`+task.Name+`"`) {
				dirs = append(dirs, filepath.Dir(path))
			}
		}
	}
	return dirs
}

// Starts counts the lines that the program wrote on hosts, also in folders that were removed.
func (l *lab) Starts(_ testing.TB, task executors.Task) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.starts[task.Name] + l.startsNow(task)
}

func (l *lab) startsNow(task executors.Task) (n int) {
	for _, dir := range l.runs(task) {
		b, _ := os.ReadFile(filepath.Join(dir, "out/out/starts")) // without it, it did not start
		n += strings.Count(string(b), "\n")
	}
	return n
}

func (l *lab) Output(task executors.Task, name string) (string, bool) {
	for _, dir := range l.runs(task) {
		if b, err := os.ReadFile(filepath.Join(dir, "out/out", name)); err == nil {
			return string(b), true
		}
	}
	return "", false
}

func (l *lab) Processes(t testing.TB, task executors.Task) (n int) {
	t.Helper()
	for _, h := range l.All {
		n += h.Of(t, step.Env+"=/root/.cache/tenon/ssh/runs/"+ssh.RunName("", task.Name)+"/step.json")
	}
	return n
}

func (l *lab) Address(t testing.TB, task executors.Task) string {
	t.Helper()
	return "http://" + net.JoinHostPort(l.on(t, task).Address, strconv.Itoa(task.Unit.Endpoint.Port))
}

func (l *lab) Host() string { return l.Gateway }

// counting remembers how often a task was started before its folder is removed.
type counting struct {
	*ssh.Executor
	l *lab
}

func (c counting) Destroy(ctx context.Context, h state.Handle) error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.starts[h.ID] += c.l.startsNow(executors.Task{Name: h.ID})
	return c.Executor.Destroy(ctx, h)
}

func TestConformance(t *testing.T) {
	l := newLab(t)
	l.Setenv(t)
	executortest.Run(t, executortest.Config{
		New: func(t testing.TB) executors.Executor { return counting{l.executor(t), l} },
		Lacks: append([]executortest.Feature{
			executortest.NoNetwork, executortest.PIDs, executortest.SecretFile,
		}, executortest.Cluster...),
		Unseen:    []executortest.Feature{executortest.Image}, // see TestConformanceInContainers
		Elsewhere: l,
	})
}
