package executortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// serviceCases are about what stays up.
func (s *suite) serviceCases() []testCase {
	if s.Managed {
		return []testCase{
			{"a service is ready once it answers", s.becomesReady},
			{"a service that dies before it is ready has failed, and says what it printed", s.diesManaged},
			{"a service takes over without one failed request", s.takeover},
			{"a service answers for a version beside it, as its route says", s.versions},
			{"a service survives the wait for it", s.readyTwice},
			{"a service that is ready may still write", s.writesLater},
			{"an endpoint without a port is refused by check", s.checkPort},
		}
	}
	cases := []testCase{
		{"a service is ready once it answers", s.becomesReady},
		{"a service that never answers stays running, with the reason", s.neverReady},
		{"a service that dies before it is ready has failed", s.diesEarly},
		{"a service that dies later has failed, and apply starts it again", s.diesLate},
		{"a service that exits with 0 has failed", s.exitsCleanly},
		{"a service that is not ready leaves its log", s.leavesLog},
		{"a service takes over without one failed request", s.takeover},
		{"a service answers for a version beside it, as its route says", s.versions},
		{"a service survives the wait for it", s.readyTwice},
		{"a service that is ready may still write", s.writesLater},
		{"what a service keeps outlives it", s.keepsFiles},
		{"an endpoint without a port is refused by check", s.checkPort},
		{"a service without an endpoint is ready once it has stayed up", s.workerSettles},
		{"a service without an endpoint that ends at once has failed", s.workerDiesEarly},
		{"a service without an endpoint that dies later has failed, and apply starts it again", s.workerDiesLate},
		{"a service without an endpoint takes over from one that still runs", s.workerTakeover},
	}
	if s.Elsewhere == nil { // whose pods have ports of their own
		cases = append(cases, s.addressCases()...)
	}
	if s.Elsewhere == nil { // which starts programs again in its own way
		for kind, of := range map[string]func(t *testing.T, deaths ...string) executors.Task{
			"a service with an endpoint": func(t *testing.T, deaths ...string) executors.Task {
				return s.service(t, freePort(t), "fragile", deaths...)
			},
			"a service without an endpoint": func(t *testing.T, deaths ...string) executors.Task { return s.worker(t, "fragile", deaths...) },
		} {
			cases = append(cases,
				testCase{kind + " is started again when it dies", func(t *testing.T) { s.startedAgain(t, of(t, "2")) }},
				testCase{kind + " that keeps dying has failed", func(t *testing.T) { s.keepsDying(t, of(t, "100")) }},
				testCase{kind + " can be destroyed before it is started again", func(t *testing.T) { s.destroyBetweenLives(t, of(t, "100")) }},
			)
		}
	}
	return cases
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *suite) becomesReady(t *testing.T) {
	e := s.New(t)
	h := s.apply(t, e, s.service(t, freePort(t), "serve", "200ms"), nil)
	wantPhase(t, inspect(t, e, h), state.Running)
	wantPhase(t, wait(t, e, h), state.Ready)
	wantPhase(t, inspect(t, s.New(t), h), state.Ready)
}

func (s *suite) neverReady(t *testing.T) {
	e := s.New(t)
	h := s.apply(t, e, s.service(t, freePort(t), "serve", "never"), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	st, err := waitFor(ctx, e, h)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("wait gave %+v, %v; want the context's error", st, err)
	}
	st = s.soon(t, e, h, func(st state.Status) bool { return strings.Contains(st.Message, "503") })
	wantPhase(t, st, state.Running)
	wantMessage(t, st, "503")
}

func (s *suite) versions(t *testing.T) {
	e := s.New(t).(executors.VersionRunner)
	input := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(input, []byte("the champion's"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(input), 0o755); err != nil {
		t.Fatal(err)
	}
	task := s.service(t, freePort(t), "serve")
	champion := task
	champion.Version, champion.Inputs = "v1", map[string]step.Port{"x": {Kind: ir.File, Path: input}}
	task.Version, task.Beside, task.Route = "v2", map[string]executors.Task{"v1": champion}, &step.Route{Serial: 3}
	h := s.apply(t, s.New(t), task, nil)
	wantPhase(t, wait(t, s.New(t), h), state.Ready)
	if seen, err := e.Observe(t.Context(), h); seen != nil || err != nil {
		t.Errorf("before it observes anything: %+v, %v", seen, err)
	}
	for _, serial := range []int64{3, 4} {
		if err := e.SetRoute(t.Context(), h, step.Route{Serial: serial}); err != nil {
			t.Fatal(err)
		}
		began, within := time.Now(), time.Second
		if s.Elsewhere != nil {
			within = 5 * time.Second
		}
		says, want := "", fmt.Sprintf("v2: route %d, v1 reads the champion's", serial)
		for ; says != want; time.Sleep(20 * time.Millisecond) {
			if says = get(t, s.address(t, task)+"/versions"); says != want && time.Since(began) > within {
				t.Fatalf("after %s it says %q, want %q", within, says, want)
			}
		}
		t.Logf("it has the route %d after %s", serial, time.Since(began))
		var seen *step.Observed
		eventually(t, "it reports on the route", func() (known bool) {
			var err error
			if seen, err = e.Observe(t.Context(), h); err != nil {
				t.Fatal(err)
			}
			return seen != nil && seen.Serial == serial
		})
		if seen.Versions["v2"].Requests != 7 {
			t.Errorf("observed %+v", seen)
		}
	}
	if s.Image == "" {
		return
	}
	other := task
	other.Name = strings.Replace(task.Name, "0011223344556677", "8899aabbccddeeff", 1)
	champion.Unit.Code.Lock, champion.Unit.Code.Python = "sha256:00", "3.12"
	other.Unit.Code.Lock, other.Unit.Code.Python = "sha256:00", "3.11"
	other.Beside = map[string]executors.Task{"v1": champion}
	if _, err := s.New(t).Apply(t.Context(), other, nil); err == nil || !strings.Contains(err.Error(), "it cannot run beside v1, which has another version of Python") {
		t.Errorf("beside a version with another version of Python: %v", err)
	}
}

// get returns the body of an answer.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What a service keeps outlives it, with what it writes when it is asked to end.
func (s *suite) keepsFiles(t *testing.T) {
	e := s.New(t)
	task := s.service(t, freePort(t), "serve")
	task.Unit.Keeps, task.Unit.Ships = "log", ir.Shipments{{Folder: program.Kept, Most: 1 << 20}}
	task.Kept = filepath.Join(t.TempDir(), "kept")
	if err := os.Mkdir(task.Kept, 0o700); err != nil {
		t.Fatal(err)
	}
	if fs := s.check(t, task.Unit); len(fs) > 0 {
		t.Fatalf("check gave %+v", fs)
	}
	h := s.apply(t, e, task, nil)
	wantPhase(t, wait(t, e, h), state.Ready)
	resp, err := http.Get(s.address(t, task) + "/keep?file=first")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	bring := func() (texts []string) {
		if k, ok := e.(executors.Keeper); ok {
			if err := k.BringKept(t.Context(), h, task.Unit.Ships[0], time.Time{}, filepath.Join(task.Kept, program.Kept)); err != nil {
				t.Fatal(err)
			}
		}
		found, err := filepath.Glob(filepath.Join(task.Kept, program.Kept, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			texts = append(texts, read(t, path))
		}
		slices.Sort(texts)
		return texts
	}
	eventually(t, "the first file is kept", func() bool { return slices.Equal(bring(), []string{"first"}) })
	if err := e.Destroy(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if got := bring(); !slices.Equal(got, []string{"first", "last"}) {
		t.Errorf("it has kept %q", got)
	}
}

func (s *suite) diesEarly(t *testing.T) {
	e := s.New(t)
	st := wait(t, e, s.apply(t, e, s.service(t, freePort(t), "exit", "7", "50ms"), nil))
	wantPhase(t, st, state.Failed)
	if st.ExitCode != 7 {
		t.Errorf("exit code is %d, want 7", st.ExitCode)
	}
}

func (s *suite) diesManaged(t *testing.T) {
	e := s.New(t)
	st := wait(t, e, s.apply(t, e, s.service(t, freePort(t), "lines", "3", "1ms"), nil))
	wantPhase(t, st, state.Failed)
	wantMessage(t, st, "it printed last: line 2")
}

func (s *suite) diesLate(t *testing.T) {
	e := s.New(t)
	task := s.service(t, freePort(t), "serve")
	h := s.apply(t, e, task, nil)
	wantPhase(t, wait(t, e, h), state.Ready)
	resp, err := http.Get(s.address(t, task) + "/die")
	if err == nil {
		resp.Body.Close()
	}
	s.wantRestart(t, e, task, h)
}

// wantRestart waits for a service to die with status 7, and starts it again.
func (s *suite) wantRestart(t *testing.T, e executors.Executor, task executors.Task, h state.Handle) {
	t.Helper()
	eventually(t, "it has died", func() bool { return inspect(t, e, h).Phase == state.Failed })
	if st := inspect(t, s.New(t), h); st.ExitCode != 7 {
		t.Errorf("exit code is %d, want 7", st.ExitCode)
	}
	again := s.apply(t, e, task, nil)
	wantPhase(t, wait(t, e, again), state.Ready)
	// The name is the same, so whoever holds the old handle finds the new start.
	wantPhase(t, inspect(t, s.New(t), h), state.Ready)
}

func (s *suite) exitsCleanly(t *testing.T) {
	e := s.New(t)
	st := wait(t, e, s.apply(t, e, s.service(t, freePort(t), "exit", "0"), nil))
	wantPhase(t, st, state.Failed)
	wantMessage(t, st, "exit 0")
}

// Who gives a service up looks into its folder afterwards, when nothing else is left
// of it.
func (s *suite) leavesLog(t *testing.T) {
	e := s.New(t)
	for want, program := range map[string][]string{
		"serving\n":                {"serve", "never"},
		"line 0\nline 1\nline 2\n": {"lines", "3", "1ms"},
	} {
		task := s.service(t, freePort(t), program[0], program[1:]...)
		task.Name = strings.Replace(task.Name, "0011223344556677", program[0]+"223344556677", 1)
		h := s.apply(t, e, task, nil)
		eventually(t, "it has printed all", func() bool {
			var b bytes.Buffer
			return logger(t, e).Logs(t.Context(), h, &b, false) == nil && b.String() == want
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := waitFor(ctx, e, h); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
		if err := e.Destroy(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		if got := read(t, filepath.Join(task.Dir, "log")); got != want {
			t.Errorf("%v left the log %q, want %q", program, got, want)
		}
	}
}

func (s *suite) readyTwice(t *testing.T) {
	e := s.New(t)
	task := s.service(t, freePort(t), "serve")
	h := s.apply(t, e, task, nil)
	wantPhase(t, wait(t, e, h), state.Ready)
	other := s.New(t)
	again := s.apply(t, other, task, nil)
	if string(again.Data) != string(h.Data) {
		t.Errorf("handle is %s, want that of what runs: %s", again.Data, h.Data)
	}
	wantPhase(t, wait(t, other, again), state.Ready)
}

func (s *suite) writesLater(t *testing.T) {
	e, task := s.New(t), s.service(t, freePort(t), "serve")
	h := s.apply(t, e, task, nil)
	wantPhase(t, wait(t, e, h), state.Ready)
	resp, err := http.Get(s.address(t, task) + "/write")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("it answered %d: %s (%v)", resp.StatusCode, b, err)
	}
}

func (s *suite) takeover(t *testing.T) {
	port := freePort(t)
	e := s.New(t)
	old := s.service(t, port, "serve")
	oldHandle := s.apply(t, e, old, nil)
	wantPhase(t, wait(t, e, oldHandle), state.Ready)

	load := startLoad(s.address(t, old) + "/")
	defer load.stop()
	time.Sleep(100 * time.Millisecond)

	next := s.service(t, port, "serve", "100ms")
	next.Unit.ID, next.Name = old.Unit.ID, strings.Replace(old.Name, "0011223344556677", "8899aabbccddeeff", 1)
	nextHandle := s.apply(t, e, next, &oldHandle)
	wantPhase(t, wait(t, e, nextHandle), state.Ready)
	if s.Elsewhere == nil { // which leads requests to one of them at a time
		eventually(t, "the old one still answers", func() bool { return inspect(t, e, oldHandle).Phase == state.Ready })
	}
	if err := e.Destroy(t.Context(), oldHandle); err != nil {
		t.Fatalf("destroy the old one: %v", err)
	}
	time.Sleep(100 * time.Millisecond)
	load.stop()

	wantPhase(t, inspect(t, e, oldHandle), state.Absent)
	wantPhase(t, inspect(t, e, nextHandle), state.Ready)
	byOld, byNext := load.answers(old.Name), load.answers(next.Name)
	if n := load.failed.Load(); n > 0 {
		t.Errorf("%d requests failed, %d were answered by the old and %d by the new service; the first failure: %v",
			n, byOld, byNext, load.first.Load())
	}
	if byOld == 0 || byNext == 0 {
		t.Errorf("%d requests were answered by the old and %d by the new service; want both", byOld, byNext)
	}
}

// A load asks again and again, each time on a new connection.
type load struct {
	failed atomic.Int64
	first  atomic.Value
	stop   func()

	mu sync.Mutex
	by map[string]int
}

func startLoad(url string) *load {
	l := &load{by: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	client := &http.Client{Timeout: program.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				l.ask(client, url)
			}
		})
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	return l
}

func (l *load) ask(c *http.Client, url string) {
	resp, err := c.Get(url)
	var b []byte
	if err == nil {
		b, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err != nil {
		l.failed.Add(1)
		l.first.CompareAndSwap(nil, err.Error())
		return
	}
	l.mu.Lock()
	l.by[string(b)]++
	l.mu.Unlock()
}

func (l *load) answers(instance string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[instance]
}

func (s *suite) workerSettles(t *testing.T) {
	e := s.New(t)
	task := s.worker(t, "exit", "0", "10m")
	if fs := s.check(t, task.Unit); len(fs) != 0 {
		t.Fatalf("check gave %+v", fs)
	}
	began := time.Now()
	h := s.apply(t, e, task, nil)
	if h.Endpoint != "" {
		t.Errorf("the handle has the endpoint %q, want none", h.Endpoint)
	}
	wantPhase(t, inspect(t, e, h), state.Running)
	wantPhase(t, wait(t, e, h), state.Ready)
	if took := time.Since(began); took < executors.Settle {
		t.Errorf("it was ready after %s, want %s or later", took, executors.Settle)
	}
	wantPhase(t, inspect(t, s.New(t), h), state.Ready)
	again := s.apply(t, s.New(t), task, nil)
	if string(again.Data) != string(h.Data) {
		t.Errorf("handle is %s, want that of what runs: %s", again.Data, h.Data)
	}
}

func (s *suite) workerDiesEarly(t *testing.T) {
	e := s.New(t)
	st := wait(t, e, s.apply(t, e, s.worker(t, "exit", "7", "200ms"), nil))
	wantPhase(t, st, state.Failed)
	if st.ExitCode != 7 {
		t.Errorf("exit code is %d, want 7", st.ExitCode)
	}
	task := s.worker(t, "exit", "0")
	task.Name = strings.Replace(task.Name, "0011223344556677", "8899aabbccddeeff", 1)
	st = wait(t, e, s.apply(t, e, task, nil))
	wantPhase(t, st, state.Failed)
	wantMessage(t, st, "exit 0")
}

func (s *suite) workerDiesLate(t *testing.T) {
	e := s.New(t)
	lives := 3 * executors.Settle
	if s.Elsewhere != nil { // which takes longer to tell that it is ready
		lives = 15 * time.Second
	}
	task := s.worker(t, "exit", "7", lives.String())
	h := s.apply(t, e, task, nil)
	wantPhase(t, wait(t, e, h), state.Ready)
	s.wantRestart(t, e, task, h)
}

// The old one runs until the new one is ready, as with any service: if the new one does
// not stay up, there is still the old one.
func (s *suite) workerTakeover(t *testing.T) {
	e := s.New(t)
	old := s.worker(t, "exit", "0", "10m")
	oldHandle := s.apply(t, e, old, nil)
	wantPhase(t, wait(t, e, oldHandle), state.Ready)

	next := s.worker(t, "exit", "0", "10m")
	next.Unit.ID, next.Name = old.Unit.ID, strings.Replace(old.Name, "0011223344556677", "8899aabbccddeeff", 1)
	nextHandle := s.apply(t, e, next, &oldHandle)
	wantPhase(t, wait(t, e, nextHandle), state.Ready)
	wantPhase(t, inspect(t, e, oldHandle), state.Ready)
	if err := e.Destroy(t.Context(), oldHandle); err != nil {
		t.Fatalf("destroy the old one: %v", err)
	}
	wantPhase(t, inspect(t, e, oldHandle), state.Absent)
	wantPhase(t, inspect(t, e, nextHandle), state.Ready)
}

func (s *suite) checkPort(t *testing.T) {
	u := s.service(t, 8080, "serve").Unit
	if fs := s.check(t, u); len(fs) != 0 {
		t.Errorf("check of a good service gave %+v", fs)
	}
	u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Ready: "/ready", Replicas: 1}
	if fs := s.check(t, u); len(fs) != 1 || fs[0].Field != "port" || fs[0].Message == "" {
		t.Errorf("check gave %+v, want one fault of port", fs)
	}
}

// secondLife is after a second, less what it took to say so.
var secondLife = lazyregexp.New(`tenon: the program was killed by SIGKILL; starting it again in ([6-9]00ms|1s)\n`)

func (s *suite) startedAgain(t *testing.T, task executors.Task) {
	e := s.New(t)
	h := s.apply(t, e, task, nil)
	st := wait(t, e, h)
	wantPhase(t, st, state.Ready)
	for _, st := range []state.Status{st, inspect(t, s.New(t), h)} {
		wantMessage(t, st, "started again 2 times, last because it was killed by SIGKILL")
	}
	if log := logs(t, e, h, false); !secondLife.MatchString(log) {
		t.Errorf("the log is %q", log)
	}
}

func (s *suite) keepsDying(t *testing.T, task executors.Task) {
	e := s.New(t)
	st := wait(t, e, s.apply(t, e, task, nil))
	wantPhase(t, st, state.Failed)
	wantMessage(t, st, "killed by SIGKILL")
	wantMessage(t, st, "; it was started 5 times")
}

func (s *suite) destroyBetweenLives(t *testing.T, task executors.Task) {
	e := s.New(t)
	h := s.apply(t, e, task, nil)
	var st state.Status
	eventually(t, "it waits to be started again", func() bool {
		st = inspect(t, e, h)
		return strings.Contains(st.Message, "not ready: it was killed by SIGKILL, and starts again in ")
	})
	wantPhase(t, st, state.Running)
	if err := e.Destroy(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	wantPhase(t, inspect(t, e, h), state.Absent)
}
