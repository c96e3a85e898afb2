package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
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
	if c := b.run(task); !strings.Contains(c.end().Fault, pod.UIDEnv) {
		t.Errorf("without a UID it ended with %+v", c.end())
	}

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
