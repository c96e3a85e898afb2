package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// A service finds its route when it starts, and each new one soon after. What it observes is in
// the store, under the name of its pod, and there for the next start of the same pod.
func TestRouteAndWhatIsObserved(t *testing.T) {
	b := newFixture(t)
	task := b.job(`cat ../route/route.json; cat ../notes/observed.json 2>/dev/null && echo
		trap 'printf last > ../notes/observed.json; exit 0' TERM
		printf first > ../notes/observed.json
		while :; do grep -q two ../route/route.json && echo changed && break; sleep 0.1; done
		while :; do sleep 0.1; done`)
	task.Kind, task.Step.Outputs = ir.Service, nil
	task.Step.Route, task.Step.Observed = b.at("route/route.json"), b.at("notes/observed.json")
	const uid = "0d5cf8c1-7a3e"
	observed := func() string {
		text, err := b.store.Note(t.Context(), pod.ObservedNotes(task.Name)+uid)
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	c := b.run(task, pod.UIDEnv+"="+uid)
	if !strings.Contains(c.end().Fault, "read the route: ") {
		t.Errorf("without a route it ended with %+v", c.end())
	}
	b.ok(b.store.PutNote(t.Context(), pod.RouteNote(task.Name), []byte("one\n")))

	c = b.start(task, pod.UIDEnv+"="+uid)
	c.says("one\n")
	c.eventually("what it observes is stored", func() bool { return observed() == "first" })
	b.ok(b.store.PutNote(t.Context(), pod.RouteNote(task.Name), []byte("two\n")))
	began := time.Now()
	c.says("changed\n")
	t.Logf("the route changed after %s", time.Since(began))
	b.ok(c.Process.Signal(unix.SIGTERM))
	if c.wait(); observed() != "last" {
		t.Errorf("at the end the store has %q", observed())
	}

	c = b.start(task, pod.UIDEnv+"="+uid)
	c.says("two\nlast\nchanged\n")
	// A route that cannot be read changes nothing, and is mentioned once.
	b.ok(b.store.DeleteNotes(t.Context(), pod.RouteNote(task.Name)))
	c.says("tenon: read the route: ")
	time.Sleep(2 * routeEvery)
	if n := strings.Count(c.said(), "tenon: "); n != 1 {
		t.Errorf("it said %q", c.said())
	}
	b.ok(b.store.PutNote(t.Context(), pod.RouteNote(task.Name), []byte("three\n")))
	c.eventually("it has the route again", func() bool {
		text, err := os.ReadFile(task.Step.Route)
		return err == nil && string(text) == "three\n"
	})
}

// An instance of a service that has no UID chooses one, keeps its route where its notes are, and says that it has ended.
func TestAnInstanceWithoutUID(t *testing.T) {
	b := newFixture(t)
	task := b.job(`trap 'exit 0' TERM
		printf seen > ../notes/observed.json
		cat ../route/route.json
		while :; do sleep 0.1; done`)
	task.Kind, task.Step.Outputs = ir.Service, nil
	task.Step.Route, task.Step.Observed = b.at("route/route.json"), b.at("notes/observed.json")
	task.Places = &pod.Places{Notes: "file://" + t.TempDir()}
	notes, err := remote.Open(t.Context(), task.Places.Notes)
	b.ok(err)
	b.Cleanup(func() { b.ok(notes.Close()) })
	b.ok(notes.PutNote(t.Context(), pod.RouteNote(task.Name), []byte("one\n")))
	c := b.start(task)
	c.says("one\n")
	b.ok(c.Process.Signal(unix.SIGTERM))
	c.wait()
	seen, err := notes.Notes(t.Context(), pod.ObservedNotes(task.Name))
	b.ok(err)
	ended, err := notes.Notes(t.Context(), pod.EndedNotes(task.Name))
	b.ok(err)
	for name, text := range seen {
		id := strings.TrimPrefix(name, pod.ObservedNotes(task.Name))
		if _, ok := ended[pod.EndedNotes(task.Name)+id]; !ok || string(text) != "seen" {
			t.Errorf("%s has %q, and %v have ended", id, text, ended)
		}
	}
	if len(seen) != 1 || len(ended) != 1 {
		t.Errorf("%d instances have reported, and %d have ended", len(seen), len(ended))
	}
}

// Of several starts of a task, that which is claimed runs its program.
func TestOnlyTheClaimedStartRuns(t *testing.T) {
	b := newFixture(t)
	task := b.job("echo it runs")
	task.Claim = &pod.Claim{Task: "train", Start: "0011"}
	for _, claim := range []string{"", "2233", "0011"} {
		if claim != "" {
			b.ok(b.store.PutNote(t.Context(), pod.ClaimNote("train"), []byte(claim)))
		}
		c := b.run(task)
		if runs := strings.Contains(c.said(), "it runs"); runs != (claim == "0011") {
			t.Errorf("with the claim %q it said %q", claim, c.said())
		}
		if want := "it was replaced by another start of the task before it began"; claim != "0011" && c.end().Fault != want {
			t.Errorf("with the claim %q it ended with %+v, want %q", claim, c.end(), want)
		}
	}
}
