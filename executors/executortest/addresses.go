package executortest

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/planner/state"
)

// addressCases are about services that want the same address of this machine.
func (s *suite) addressCases() []testCase {
	return []testCase{
		{"a port that a stranger answers on is refused", s.strangersPort},
		{"an address has one owner before anybody listens, and until that one has ended", s.ownsAddress},
		{"of several systems that start at one address at once, one does", s.startsOnce},
		{"an address is free once its service was killed", s.killedOwner},
		{"a service has failed if a stranger listens at its address too", s.strangerBeside},
		{"a service takes over from a unit that the plan removes, and from no other", s.leaves},
	}
}

func (s *suite) strangersPort(t *testing.T) {
	port := freePort(t)
	l, err := program.Listen(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(program.InstanceHeader, "somebody else")
	})}
	go srv.Serve(l) //nolint:errcheck // it ends with Close
	defer srv.Close()
	h, err := s.New(t).Apply(t.Context(), s.service(t, port, "sleep"), nil)
	if err == nil || !strings.Contains(err.Error(), "is in use by") {
		t.Fatalf("apply gave %+v, %v; want an error that says who has the port", h, err)
	}
}

// taken names who has the address of a task, as a plan reports it.
func taken(t *testing.T, e executors.Executor, task executors.Task) string {
	t.Helper()
	by, err := e.(executors.Host).Taken(t.Context(), task, nil)
	if err != nil {
		t.Fatalf("taken: %v", err)
	}
	return by
}

// wantTaken checks that a task is refused because another one has its address.
func (s *suite) wantTaken(t *testing.T, task, owner executors.Task) {
	t.Helper()
	by := owner.Unit.ID + " of " + filepath.Dir(owner.Dir)
	if got := taken(t, s.New(t), task); got != by {
		t.Errorf("the address is in use by %q, want %q", got, by)
	}
	h, err := s.New(t).Apply(t.Context(), task, nil)
	if err == nil || !strings.Contains(err.Error(), " is in use by "+by+": ") {
		t.Fatalf("apply gave %+v, %v; want an error that names %s", h, err, by)
	}
	if h, err := s.New(t).Find(t.Context(), task.Name, task.Dir); h != nil || err != nil {
		t.Errorf("find gave %+v, %v, after nothing was started", h, err)
	}
}

func (s *suite) ownsAddress(t *testing.T) {
	port, e := freePort(t), s.New(t)
	owner, other := s.service(t, port, "sleep"), s.service(t, port, "serve") // which never listens
	if by := taken(t, e, owner); by != "" {
		t.Errorf("the free address is in use by %q", by)
	}
	h := s.apply(t, e, owner, nil)
	s.wantTaken(t, other, owner)
	every := s.service(t, port, "serve")
	every.Unit.Endpoint.Host = "0.0.0.0"
	s.wantTaken(t, every, owner)
	beside := s.service(t, port, "sleep")
	beside.Unit.Endpoint.Host = "127.0.0.2"
	s.apply(t, e, beside, nil)

	if err := e.Destroy(t.Context(), h); err != nil {
		t.Fatalf("destroy: %v", err)
	}
	if by := taken(t, e, other); by != "" {
		t.Errorf("after the end of its service, the address is in use by %q", by)
	}
	wantPhase(t, wait(t, e, s.apply(t, e, other, nil)), state.Ready)
}

func (s *suite) startsOnce(t *testing.T) {
	port := freePort(t)
	var mu sync.Mutex
	var started []state.Handle
	var wg sync.WaitGroup
	for range 3 {
		task, e := s.service(t, port, "serve"), s.New(t)
		wg.Go(func() {
			h, err := e.Apply(t.Context(), task, nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				started = append(started, h)
			} else if !strings.Contains(err.Error(), "is in use by "+task.Unit.ID+" of ") {
				t.Errorf("apply gave %v", err)
			}
		})
	}
	wg.Wait()
	for _, h := range started {
		s.cleanUp(t, h)
	}
	if len(started) != 1 {
		t.Fatalf("%d services were started at one address", len(started))
	}
	wantPhase(t, wait(t, s.New(t), started[0]), state.Ready)
}

func (s *suite) killedOwner(t *testing.T) {
	port, e := freePort(t), s.New(t)
	owner, other := s.service(t, port, "serve"), s.service(t, port, "serve")
	h := s.apply(t, e, owner, nil)
	wantPhase(t, wait(t, e, h), state.Ready)
	resp, err := http.Get(s.address(t, owner) + "/die")
	if err == nil {
		resp.Body.Close()
	}
	eventually(t, "it has died", func() bool { return inspect(t, e, h).Phase == state.Failed })
	eventually(t, "its address is free", func() bool { return taken(t, e, other) == "" })
	wantPhase(t, wait(t, e, s.apply(t, e, other, nil)), state.Ready)
	s.wantTaken(t, s.service(t, port, "serve"), other)
}

func (s *suite) strangerBeside(t *testing.T) {
	port, e := freePort(t), s.New(t)
	h := s.apply(t, e, s.service(t, port, "serve", "500ms"), nil)
	var l net.Listener
	eventually(t, "the service listens", func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	l, err := program.Listen(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, unix.EADDRINUSE) {
		return // the kernel itself separates users
	}
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go srv.Serve(l) //nolint:errcheck // it ends with Close
	defer srv.Close()
	st := wait(t, e, h)
	wantPhase(t, st, state.Failed)
	wantMessage(t, st, "process "+strconv.Itoa(unix.Getpid())+" (")
	srv.Close()
	// It has reset what it had not yet accepted, so the first answer may be an error.
	eventually(t, "the service is ready", func() bool { return inspect(t, e, h).Phase == state.Ready })
}

func (s *suite) leaves(t *testing.T) {
	port, e := freePort(t), s.New(t)
	old, next := s.service(t, port, "serve"), s.service(t, port, "serve")
	next.Unit.ID = "deployments/next/serve"
	next.Dir = filepath.Join(filepath.Dir(old.Dir), "next")
	oldHandle := s.apply(t, e, old, nil)
	wantPhase(t, wait(t, e, oldHandle), state.Ready)
	makeDir(t, next.Dir)
	s.wantTaken(t, next, old)
	next.Leaving = []string{old.Unit.ID}
	if by := taken(t, e, next); by != "" {
		t.Errorf("the address of a unit that leaves is in use by %q", by)
	}
	next.Name = strings.Replace(old.Name, "0011223344556677", "8899aabbccddeeff", 1)
	h := s.apply(t, e, next, nil)
	wantPhase(t, wait(t, e, h), state.Ready)
	// While both listen, either may answer a request.
	s.soon(t, e, oldHandle, func(st state.Status) bool { return st.Phase == state.Ready })
}

func makeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
