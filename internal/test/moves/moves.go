package moves

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/executors/local/lives"
)

// A move is something that happens to services.
type move struct {
	name string
	do   func(context.Context) error
}

// A Mover moves the services of a system at random.
type Mover struct {
	*System
	Clients *Clients
	Random  *rand.Rand
	Say     func(string)

	releasing bool
	weight    int
	short     map[string]int // how often a program of each service was killed since it was deployed
}

// Move makes one random move, and posts an event.
func (m *Mover) Move(ctx context.Context) error {
	all := m.moves()
	for _, service := range []string{"fraud", "late"} {
		if m.short[service] < lives.MostShort-2 {
			all = append(all, move{"kill the plane of " + service, func(context.Context) error { return m.killPlane(service) }})
		}
	}
	if m.short["worker"] < lives.MostShort-2 {
		all = append(all, move{"kill a process in Python", func(context.Context) error { return m.killWorker() }})
	}
	return m.one(ctx, all)
}

// MoveCalmly makes one random move without killing anything.
func (m *Mover) MoveCalmly(ctx context.Context) error { return m.one(ctx, m.moves()) }

func (m *Mover) moves() []move {
	all := []move{{"a new version takes over", m.takeOver}, {"a table is refreshed", m.refresh}, {"a new challenger", m.challenge}, {"shadow on or off", m.toggleShadow}}
	if m.releasing {
		all = append(all, move{"weights", m.weigh}, move{"weights", m.weigh}, move{"next", m.next}, move{"abort", m.abort})
	}
	return all
}

func (m *Mover) one(ctx context.Context, all []move) error {
	x := all[m.Random.IntN(len(all))]
	m.Say(x.name)
	if err := x.do(ctx); err != nil {
		return fmt.Errorf("%s: %w", x.name, err)
	}
	return m.post(m.Random)
}

func (m *Mover) apply(ctx context.Context) error {
	if err := m.Write(); err != nil {
		return err
	}
	_, err := m.Run(ctx, "apply", "--yes", "--no-wait")
	return err
}

// started notes that a service has new processes.
func (m *Mover) started(services ...string) {
	for _, s := range services {
		delete(m.short, s)
	}
}

// killed notes that a program has ended early.
func (m *Mover) killed(what string) {
	if m.short == nil {
		m.short = map[string]int{}
	}
	m.short[what]++
}

func (m *Mover) takeOver(ctx context.Context) error {
	m.instances++
	m.started("fraud")
	return m.apply(ctx)
}

func (m *Mover) challenge(ctx context.Context) error {
	m.limit++
	return m.challenged(ctx)
}

func (m *Mover) challenged(ctx context.Context) error {
	m.started("late", "worker")
	m.releasing, m.weight = true, 10
	if m.shadow {
		m.weight = 0
	}
	return m.apply(ctx)
}

// refresh changes a row that nobody asks for.
func (m *Mover) refresh(ctx context.Context) error {
	m.vans++
	return m.challenged(ctx)
}

func (m *Mover) toggleShadow(ctx context.Context) error {
	m.shadow = !m.shadow
	return m.apply(ctx)
}

// Challenge deploys a new challenger.
func (m *Mover) Challenge(ctx context.Context) error { return m.challenge(ctx) }

// Weigh gives the challenger a weight. It returns the times from the start of the command until the
// service says that the weight is in effect, and until the command has ended.
func (m *Mover) Weigh(ctx context.Context, to int) (effect, command time.Duration, err error) {
	began := time.Now()
	ended := make(chan error, 1)
	go func() {
		_, err := m.Run(ctx, "release", "next", "deployments/late", "--to", strconv.Itoa(to))
		command = time.Since(began)
		ended <- err
	}()
	m.weight = to
	want := fmt.Sprintf(" %d.0\n", to)
	for ; effect == 0; time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > patience {
			return 0, 0, errors.Join(<-ended, fmt.Errorf("the weight is never %d", to))
		}
		text, err := get(url(m.Late, "/metrics"))
		if err != nil {
			return 0, 0, errors.Join(<-ended, err)
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "tenon_version_weight{") && strings.HasSuffix(line, want) {
				effect = time.Since(began)
			}
		}
	}
	return effect, command, <-ended
}

func get(url string) (string, error) {
	r, err := http.Get(url) //nolint:noctx // on this machine
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

func (m *Mover) weigh(ctx context.Context) error {
	to := 1 + m.Random.IntN(100)
	if to == m.weight {
		return nil
	}
	m.weight = to
	_, err := m.Run(ctx, "release", "next", "deployments/late", "--to", strconv.Itoa(to))
	return err
}

func (m *Mover) next(ctx context.Context) error {
	if m.weight == 100 {
		m.releasing = false
	} else {
		m.weight = []int{10, 50, 100}[slices.IndexFunc([]int{10, 50, 100}, func(step int) bool { return step > m.weight })]
	}
	_, err := m.Run(ctx, "release", "next", "deployments/late")
	return err
}

func (m *Mover) abort(ctx context.Context) error {
	m.started("late", "worker")
	m.releasing = false
	_, err := m.Run(ctx, "release", "abort", "deployments/late")
	return err
}

func (m *Mover) killPlane(service string) error {
	at := url(m.Fraud, "/predict")
	if service == "late" {
		at = url(m.Late, "/predict")
		m.started("worker")
	}
	m.killed(service)
	return m.Clients.Kill(at, func() error { return m.kill("deployments-"+service, "tenon-serve") })
}

func (m *Mover) killWorker() error {
	m.killed("worker")
	return m.kill("deployments-late", "python")
}

// kill kills a process of a service, whose program has a name, and waits until it is gone.
func (s *System) kill(service, program string) error {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		pids, err := s.processes(service, program)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			if time.Now().After(end) {
				return fmt.Errorf("%s has no process of %s", service, program)
			}
			continue // it is just being started again
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		for _, pid := range pids {
			for !gone(pid) {
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	}
}

// processes lists those of a service whose program has a name.
func (s *System) processes(service, program string) (pids []int, err error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range all {
		command, err1 := os.ReadFile(filepath.Join(dir, "cmdline"))
		first, _, _ := bytes.Cut(command, []byte{0})
		if err1 != nil || !strings.HasPrefix(filepath.Base(string(first)), program) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		if s.owns(dir, service) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// owns reports whether a process belongs to a service: its control group names its container, and
// otherwise its environment names its folder.
func (s *System) owns(proc, service string) bool {
	if s.Mark != "" {
		group, err := os.ReadFile(filepath.Join(proc, "cgroup"))
		return err == nil && bytes.Contains(group, []byte(s.Mark)) && bytes.Contains(group, []byte(service))
	}
	env, err := os.ReadFile(filepath.Join(proc, "environ"))
	return err == nil && bytes.Contains(env, []byte("TENON_STEP="+s.Dir)) && bytes.Contains(env, []byte("/"+service))
}

// gone reports whether a process has ended, and its sockets with it.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && (rest[0] == 'Z' || rest[0] == 'X')
}
