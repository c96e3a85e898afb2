package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
)

// listening is a system with one service. %[1]s is its name, %[2]s the host and %[3]d the
// port.
const listening = `package listening

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/serve"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "listening"

sources: orders: source.#CSV & {
	path: "orders.csv"
	schema: {id: col.#Int64, x: col.#Float64, y: col.#Float64}
}
models: m: train.#SKLearn & {
	in: table: sources.orders.out
	label:      "y"
	estimator:  "sklearn.linear_model.Ridge"
	test:       split.#Random & {fraction: 0.5}
	evaluation: evaluate.#Regression & {gates: r2: min: 0.5}
}
deployments: %[1]s: serve.#HTTP & {in: model: models.m.out, host: %[2]q, port: %[3]d}
`

func newListening(t *testing.T, name, host string, port int) *system {
	t.Helper()
	s := newSystem(t, nil)
	t.Cleanup(s.remove)
	s.write("system.cue", fmt.Sprintf(listening, name, host, port))
	return s
}

func sharedTestPort(t *testing.T) int {
	t.Helper()
	port, release, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		release()
		local.Release(&ir.Endpoint{Port: port}) // services that were killed leave a void claim
	})
	return port
}

// applies applies a system and checks that it ends as wanted. The output contains each of
// the texts.
func (s *system) applies(well bool, texts ...string) {
	s.t.Helper()
	out, err := s.tenon([]string{"apply", "--yes"})
	s.said(out, err == nil, well, texts...)
}

func (s *system) said(out string, ok, well bool, texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			s.t.Errorf("output lacks %q", text)
		}
	}
	if ok != well {
		s.t.Errorf("success is %v, want %v", ok, well)
	}
	if s.t.Failed() {
		s.t.Fatalf("output:\n%s", out)
	}
}

func (s *system) takes(port int) string {
	return fmt.Sprintf("port %d of 127.0.0.1 is in use by deployments/api of %s", port, s.dir)
}

// Of two systems with one address that are applied at once, one becomes ready, and the
// other learns who has the address.
func TestTwoAppliesAtOneAddress(t *testing.T) {
	port := sharedTestPort(t)
	var systems [2]*system
	var applies [2]*tenonProcess
	for i := range systems {
		systems[i] = newListening(t, "api", "127.0.0.1", port)
		if out, err := systems[i].tenon([]string{"compile"}); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for i, s := range systems {
		applies[i] = s.start([]string{"apply", "--yes"})
	}
	winner := -1
	for i, p := range applies {
		if p.end() == 0 {
			if winner >= 0 {
				t.Fatalf("both are ready:\n%s\n%s", &applies[0].out, &applies[1].out)
			}
			winner = i
		}
	}
	if winner < 0 {
		t.Fatalf("none is ready:\n%s\n%s", &applies[0].out, &applies[1].out)
	}
	loser := 1 - winner
	systems[loser].said(applies[loser].out.String(), false, false, systems[winner].takes(port))
	if left := systems[loser].processes(); len(left) > 0 {
		t.Errorf("the other one left %v", left)
	}
	// Once the owner is gone, the address is free.
	if out, err := systems[winner].tenon([]string{"destroy", "--yes"}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	systems[loser].applies(true, "deployments/api")
}

// The check of the plan cannot see a service that another apply is about to start. The
// claim can.
func TestAnAddressIsTakenBetweenThePlanAndTheStart(t *testing.T) {
	port := sharedTestPort(t)
	first, second := newListening(t, "api", "127.0.0.1", port), newListening(t, "api", "127.0.0.1", port)
	paused := first.start([]string{"apply", "--yes"}, faultStop+"=before the start of deployments/api", faultLease+"=24h")
	if err := paused.untilStopped(); err != nil {
		_ = paused.cmd.Process.Kill()
		t.Fatalf("%v: exit status %d\n%s", err, paused.end(), &paused.out)
	}
	second.applies(true)
	_ = paused.cmd.Process.Signal(syscall.SIGCONT)
	code := paused.end()
	first.said(paused.out.String(), code == 0, false, second.takes(port), "1 failed")
}

func TestAPlanNamesWhoHasAnAddress(t *testing.T) {
	port := sharedTestPort(t)
	owner := newListening(t, "api", "127.0.0.1", port)
	owner.applies(true)

	for _, host := range []string{"127.0.0.1", "0.0.0.0", "localhost", "127.0.0.2"} {
		free := host == "127.0.0.2"
		other := newListening(t, "other", host, port)
		taken := fmt.Sprintf("deployments/other: port %d of %s is in use by deployments/api of %s", port, host, owner.dir)
		out, err := other.tenon([]string{"plan"})
		if other.said(out, err == nil, true); strings.Contains(out, taken) == free {
			t.Errorf("%s: plan says:\n%s", host, out)
		}
		if free {
			other.applies(true)
			continue
		}
		other.applies(false, "nothing was done", taken)
		if other.revisions() > 0 {
			t.Errorf("%s: a revision has begun", host)
		}
		var doc struct {
			Taken []struct{ Unit, Address, By string }
		}
		out, err = other.tenon([]string{"plan", "--json"})
		if err = errors.Join(err, json.Unmarshal([]byte(out), &doc)); err != nil || len(doc.Taken) != 1 || doc.Taken[0].By != "deployments/api of "+owner.dir {
			t.Errorf("%s: plan --json says %+v, %v", host, doc, err)
		}
	}
	// The owner itself may take over, and nothing is in its way.
	out, err := owner.tenon([]string{"plan"})
	owner.said(out, err == nil, true, "Nothing to do")
	owner.write("system.cue", strings.Replace(fmt.Sprintf(listening, "api", "127.0.0.1", port), "port:", "max_instances: 7, port:", 1))
	owner.applies(true, "1 updated")
	// Under another name it starts beside the old one, which the plan removes.
	owner.write("system.cue", fmt.Sprintf(listening, "renamed", "127.0.0.1", port))
	owner.applies(true, "1 created", "deployments/api")

	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	at := stranger.Addr().(*net.TCPAddr).Port
	other := newListening(t, "other", "127.0.0.1", at)
	process := fmt.Sprintf("port %d of 127.0.0.1 is in use by process %d (", at, syscall.Getpid())
	out, err = other.tenon([]string{"plan"})
	other.said(out, err == nil, true, process)
	other.applies(false, "nothing was done", process)
}

// A service starts at an address once the one that has it now has left. If both would have
// to wait for each other, nothing is done.
func TestServicesOfASystemChangeTheirAddresses(t *testing.T) {
	var ports [3]int
	for i := range ports {
		ports[i] = sharedTestPort(t)
	}
	s := newSystem(t, nil)
	t.Cleanup(s.remove)
	at := func(a, b int) {
		s.write("system.cue", fmt.Sprintf(listening, "a", "127.0.0.1", ports[a])+
			fmt.Sprintf("deployments: b: serve.#HTTP & {in: model: models.m.out, port: %d}\n", ports[b]))
	}
	at(0, 1)
	s.applies(true, "deployments/b")
	at(1, 2)
	s.applies(true, "2 updated")
	at(2, 1)
	s.applies(false, "nothing was done", fmt.Sprintf("port %d of 127.0.0.1 is in use by deployments/b of %s", ports[2], s.dir))
	at(0, 1)
	s.applies(true, "2 updated")
}

// A claim lasts as long as its service, whatever happens to tenon.
func TestAKilledApplyLeavesNoClaimBehind(t *testing.T) {
	for _, moment := range []string{"before the start of deployments/api", "after the start of deployments/api", "before record handle of run (6)"} {
		t.Run(moment, func(t *testing.T) {
			port := sharedTestPort(t)
			first, second := newListening(t, "api", "127.0.0.1", port), newListening(t, "api", "127.0.0.1", port)
			killed := first.start([]string{"apply", "--yes"}, faultKill+"="+moment)
			if code := killed.end(); code != -1 {
				t.Fatalf("exit status %d:\n%s", code, &killed.out)
			}
			if runs := len(first.processes()) > 0; runs {
				second.applies(false, first.takes(port))
			}
			// The next apply of the same system continues, even if the service has another name.
			first.write("system.cue", fmt.Sprintf(listening, "renamed", "127.0.0.1", port))
			first.applies(true, "deployments/renamed")
			// What is killed without a trace holds nothing.
			for pid := range first.processes() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			for end := time.Now().Add(10 * time.Second); len(first.processes()) > 0 && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			second.applies(true)
		})
	}
}

// A program that joins later is named, and the service does not count as ready with it.
func TestAListenerOfAStrangerIsNamed(t *testing.T) {
	port := sharedTestPort(t)
	s := newListening(t, "api", "127.0.0.1", port)
	s.applies(true)
	stranger, err := sharedPort.Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	by := fmt.Sprintf("process %d (", syscall.Getpid())
	var status string
	// The stranger answers nothing, so tenon has to ask until the service answers.
	for range 10 {
		if status, _ = s.tenon([]string{"status"}); strings.Contains(status, by) {
			break
		}
	}
	s.said(status, true, true, by)
}
