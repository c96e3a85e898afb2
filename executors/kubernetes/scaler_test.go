package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
	"github.com/tenon-ml/tenon/planner/state"
)

// clients are clients of a service. Each request has a connection of its own, so the cluster
// decides for each where it goes. None may fail.
type clients struct {
	t    *testing.T
	at   string
	http http.Client
}

func newClients(t *testing.T, at string) *clients {
	return &clients{t, at, http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// ask sends one request that takes so long.
func (c *clients) ask(takes time.Duration) {
	resp, err := c.http.Get(fmt.Sprintf("%s/?takes=%s", c.at, takes))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); resp.StatusCode != http.StatusOK {
			err = errors.Join(err, errors.New(resp.Status))
		}
	}
	if err != nil {
		c.t.Errorf("a request failed: %v", err)
	}
}

// burst sends n requests at the same time.
func (c *clients) burst(n int, takes time.Duration) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() { c.ask(takes) })
	}
	all.Wait()
}

// load has n clients ask one request after the other, until it is stopped.
func (c *clients) load(n int, takes time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for ctx.Err() == nil {
				c.ask(takes)
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// replicasOf returns how many pods a service is to have, and how many are ready.
func (p *place) replicasOf(t *testing.T, task executors.Task) (want, ready int64) {
	t.Helper()
	o, err := p.Client(t).Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace(p.namespace).Get(t.Context(), task.Name, metav1.GetOptions{})
	ok(t, err)
	want, _, err = unstructured.NestedInt64(o.Object, "spec", "replicas")
	ok(t, err)
	ready, _, err = unstructured.NestedInt64(o.Object, "status", "readyReplicas")
	ok(t, err)
	return want, ready
}

// becomes waits until a service has as many pods as it is to have.
func (p *place) becomes(t *testing.T, task executors.Task, what string, is func(n int64) bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		want, ready := p.replicasOf(t, task)
		if want == ready && is(ready) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: after two minutes it is to have %d replicas, of which %d are ready", what, want, ready)
		}
	}
}

// endScalers deletes the pods of a scaler.
func (p *place) endScalers(t *testing.T, task executors.Task, how metav1.DeleteOptions) {
	t.Helper()
	ok(t, p.Client(t).Resource(podsOf).Namespace(p.namespace).DeleteCollection(t.Context(), how, metav1.ListOptions{LabelSelector: "tenon.dev/scaler=" + task.Name}))
}

func TestReplicas(t *testing.T) {
	c := kubernetestest.Up(t)
	c.S3.Setenv(t)
	for name, test := range map[string]func(*testing.T, *place){
		"follow requests": followRequests,
		"get no requests when they are not healthy": loseUnhealthy,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, placeIn(t, c))
		})
	}
}

// A service follows its load, down to no replicas and up again, and no request fails: whenever it
// comes, and although the scaler ends in between.
func followRequests(t *testing.T, p *place) {
	e := p.executor(t)
	task := service(t, "followed")
	task.Unit.Endpoint.Replicas = 0
	task.Unit.Endpoint.Scale = &ir.Scale{Max: 3, CPU: 70, InFlight: 8, Idle: 4 * time.Second}
	h := apply(t, e, task)
	waitReady(t, e, h)
	c := newClients(t, p.Address(t, task))
	says := func(what string) {
		t.Helper()
		st, err := e.Inspect(t.Context(), h)
		if ok(t, err); st.Phase != state.Ready || !strings.HasPrefix(st.Message, what) {
			t.Errorf("it is %s: %s, want ready: %s", st.Phase, st.Message, what)
		}
	}
	none := func(n int64) bool { return n == 0 }

	p.becomes(t, task, "without requests", none)
	says("0 replicas of 0 to 3")
	c.burst(64, 0) // which wait for the first pod

	stop := c.load(64, 100*time.Millisecond)
	p.becomes(t, task, "with 64 clients", func(n int64) bool { return n == 3 })
	says("3 replicas of 0 to 3")
	p.endScalers(t, task, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	time.Sleep(2 * time.Second)
	if want, _ := p.replicasOf(t, task); want != 3 {
		t.Errorf("when its scaler was killed, it is to have %d replicas", want)
	}
	stop()

	// The last pods may be about to end, or the first to start.
	for range 2 {
		time.Sleep(4*time.Second + rand.N(6*time.Second))
		c.burst(16, 0)
	}
	p.becomes(t, task, "without requests again", none)
	p.endScalers(t, task, metav1.DeleteOptions{}) // as when its node is drained
	c.burst(16, 0)
	p.becomes(t, task, "without requests for the last time", none)

	// A new version takes over. Some requests have just begun to wait for a pod of the old one.
	next := service(t, "next")
	next.Unit.Endpoint = task.Unit.Endpoint
	after := apply(t, e, next)
	waitAvailable := func() bool { _, ready := p.replicasOf(t, next); return ready == 1 }
	for !waitAvailable() {
		time.Sleep(50 * time.Millisecond)
	}
	var late sync.WaitGroup
	late.Go(func() { c.burst(16, 0) })
	time.Sleep(100 * time.Millisecond)
	waitReady(t, e, after)
	ok(t, e.Destroy(context.Background(), h))
	late.Wait()
	c.burst(16, 0)
}

// A replica that says that it is not healthy gets no requests before it fails them, and gets some again
// once it is. One that dies is started again, also if it is the only one.
func loseUnhealthy(t *testing.T, p *place) {
	e := p.executor(t)
	task := service(t, "two")
	task.Unit.Endpoint.Replicas = 2
	h := apply(t, e, task)
	waitReady(t, e, h)
	c := newClients(t, p.Address(t, task))
	resp, err := c.http.Get(c.at + "/sicken") // one of the two
	ok(t, err)
	ok(t, resp.Body.Close())
	stop := c.load(8, 0)
	p.becomesReady(t, task, 1)
	time.Sleep(program.Incubation)
	stop()
	p.becomesReady(t, task, 2) // it recovers

	single := service(t, "one")
	single.Unit.ID, single.Unit.Entity = "deployments/single", "deployments/single"
	h = apply(t, e, single)
	waitReady(t, e, h)
	c = newClients(t, p.Address(t, single))
	_, _ = c.http.Get(c.at + "/die") // which answers nothing
	p.becomesReady(t, single, 0)
	p.becomesReady(t, single, 1)
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Ready || st.Message != "started again once, because it ended with status 7" {
		t.Errorf("%+v, %v", st, err)
	}
}

// becomesReady waits until so many pods of a service are ready.
func (p *place) becomesReady(t *testing.T, task executors.Task, n int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, ready := p.replicasOf(t, task)
		if ready == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d pods are ready, want %d", ready, n)
		}
	}
}
