package azure_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/azure"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// hosted makes the task of a version of the deployment "api", which answers with the name of its model. No container of Container
// Apps has its GPUs.
func hosted(t *testing.T, version, model string, change ...func(*ir.Unit)) executors.Task {
	t.Helper()
	task := cloudtest.Task(t, version)
	task.Name, task.Version = "api-"+version+"-1", version
	task.Unit = ir.Unit{
		ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Component: "serve.http", Code: ir.Code{Runtime: ir.Plane, Command: []string{"worker.py"}, Lock: "sha256:0a"},
		Params: json.RawMessage(fmt.Sprintf(`{"deployment":"api","model":%q}`, model)), Outputs: []ir.Output{{Port: "endpoint", Kind: ir.EndpointOf}},
		Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/readyz", Replicas: 1}, Needs: ir.Resources{GPU: 2},
	}
	for _, c := range change {
		c(&task.Unit)
	}
	return task
}

// hosting returns an executor whose tenon-serve is small.
func (l *lab) hosting(t *testing.T, system string, change ...func(*azure.Options)) *azure.Executor {
	t.Helper()
	return l.executor(t, system, append([]func(*azure.Options){func(o *azure.Options) {
		o.Programs.Serve = func(context.Context) (string, error) { return os.Getenv(serveVar), nil }
	}}, change...)...)
}

func becomesReady(t *testing.T, e *azure.Executor, h state.Handle) {
	t.Helper()
	if st, err := e.Wait(t.Context(), h); err != nil || st.Phase != state.Ready || st.Message != "" {
		t.Fatalf("%+v, %v", st, err)
	}
}

// scores sends a request with a key, and returns what answers, and its deployment.
func (l *lab) scores(t *testing.T, url, key string) (status int, body, deployment string) {
	t.Helper()
	client, err := l.Client()
	ok(t, err)
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"instances":[{}]}`))
	ok(t, err)
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := client.Do(r)
	ok(t, err)
	b, err := io.ReadAll(resp.Body)
	ok(t, errors.Join(err, resp.Body.Close()))
	return resp.StatusCode, string(b), resp.Header.Get("azureml-model-deployment")
}

func (l *lab) answers(t *testing.T, h state.Handle, want string) {
	t.Helper()
	if _, got, _ := l.scores(t, h.Endpoint, l.Key(h.Endpoint)); got != want {
		t.Errorf("%s answers %q, want %q", h.Endpoint, got, want)
	}
}

// nothingLeft says that there is no endpoint of a system.
func (l *lab) nothingLeft(t *testing.T, system string) {
	t.Helper()
	all, err := l.Endpoints()
	ok(t, err)
	for _, name := range all {
		if strings.HasPrefix(name, "tenon-"+system+"-") {
			t.Errorf("it has left %s", name)
		}
	}
}

// deployedOnce says that each deployment of a system was made once.
func (l *lab) deployedOnce(t *testing.T, system string) {
	t.Helper()
	all, err := l.Deploys()
	ok(t, err)
	for _, line := range all {
		if strings.HasPrefix(line, "tenon-"+system+"-") && !strings.HasSuffix(line, " 1") {
			t.Errorf("it was deployed more than once: %s", line)
		}
	}
}

// A deployment that needs several GPUs is an endpoint, which stays the same: requests go to the version that was seen ready last,
// from who has its key, which is in no handle.
func TestEndpoint(t *testing.T) {
	l := newLab(t)
	const system = "online"
	e := l.hosting(t, system)
	first := hosted(t, "a", "one")
	if _, err := e.Apply(t.Context(), first, nil); err == nil || !strings.Contains(err.Error(), "apply") {
		t.Errorf("without the infrastructure: %v", err)
	}
	ok(t, l.provision(system, first.Unit))
	ok(t, l.Refuse("create: Not enough quota available for Standard_NC64as_T4_v3 in SubscriptionId"))
	if _, err := e.Apply(t.Context(), first, nil); err == nil || !strings.Contains(err.Error(), "a quota for cores of machines of endpoints") || !errors.As(err, new(*executors.LackingError)) {
		t.Errorf("without a quota: %v", err)
	}
	h, err := e.Apply(t.Context(), first, nil)
	ok(t, err)
	becomesReady(t, e, h)
	l.answers(t, h, "one")
	if status, _, _ := l.scores(t, h.Endpoint, "guessed"); status != http.StatusUnauthorized || bytes.Contains(h.Data, []byte(l.Key(h.Endpoint))) {
		t.Errorf("with another key it answers %d", status)
	}
	if again, err := e.Apply(t.Context(), first, nil); err != nil || again.Endpoint != h.Endpoint {
		t.Errorf("applied again: %s, %v", again.Data, err)
	}
	if found, err := l.hosting(t, system).Find(t.Context(), first.Name, first.Dir); err != nil || found == nil || found.Endpoint != h.Endpoint {
		t.Errorf("found %+v, %v, and it is %s", found, err, h.Data)
	}
	l.deployedOnce(t, system)
	var log bytes.Buffer
	ok(t, e.Logs(t.Context(), h, &log, false))
	if log.String() != "it starts as one\n" {
		t.Errorf("the log is %q", log.String())
	}
	_, err = l.hosting(t, system, func(o *azure.Options) { o.State = "theirs" }).Apply(t.Context(), hosted(t, "t", "two"), nil)
	if err == nil || !strings.Contains(err.Error(), "already has the endpoint tenon-online-") {
		t.Errorf("in another state: %v", err)
	}

	// Versions that do not become ready get no requests, and say why.
	for model, last := range map[string]string{"broken": "error: the model is damaged", "never": "it starts as never"} {
		b, err := e.Apply(t.Context(), hosted(t, model, model, func(u *ir.Unit) { u.Timeout = time.Second }), &h)
		ok(t, err)
		if st, err := e.Wait(t.Context(), b); err != nil || st.Phase != state.Failed || !strings.HasPrefix(st.Message, "its container ended, or did not become ready in time: its log says more; raise timeout") || !strings.HasSuffix(st.Message, last) {
			t.Errorf("%s: %+v, %v", model, st, err)
		}
		l.answers(t, h, "one")
		ok(t, e.Destroy(t.Context(), b))
	}
	ok(t, l.Refuse("OutOfCapacity: The VM size is out of capacity"))
	b, err := e.Apply(t.Context(), hosted(t, "c", "two"), &h)
	ok(t, err)
	if st, err := e.Wait(t.Context(), b); err != nil || st.Phase != state.Failed || !st.Lacking || !strings.HasPrefix(st.Message, "the location has no such machine free now") {
		t.Errorf("without machines: %+v, %v", st, err)
	}
	ok(t, e.Destroy(t.Context(), b))

	// Another version takes over. If it is given up after that, the one before answers again.
	next, err := e.Apply(t.Context(), hosted(t, "b", "two"), &h)
	ok(t, err)
	l.answers(t, next, "one")
	becomesReady(t, e, next)
	l.answers(t, h, "two")
	ok(t, e.Destroy(t.Context(), next))
	l.answers(t, h, "one")

	// The system may have another target by now.
	elsewhere := l.hosting(t, "", func(o *azure.Options) { o.Settings = azure.Settings{} })
	ok(t, elsewhere.Destroy(t.Context(), h))
	ok(t, elsewhere.Destroy(t.Context(), h))
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Absent {
		t.Errorf("%+v, %v", st, err)
	}
	l.nothingLeft(t, system)
}

// A cut is Azure as seen by a tenon that is killed at the first call that changes something: before Azure gets it, or after,
// without its answer. From then on no call arrives.
type cut struct {
	next   http.RoundTripper
	before bool
	killed func(call string)

	mu   sync.Mutex
	dead bool
}

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := r.Method == http.MethodPut || r.Method == http.MethodDelete
	if c.dead || changes && c.before {
		c.dead = true
		return nil, killedError{errors.New("killed")}
	}
	answer, err := c.next.RoundTrip(r)
	if err != nil || !changes {
		return answer, err
	}
	c.dead = true
	if answer.StatusCode < http.StatusMultipleChoices { // and not refused, because the one before has not ended
		c.killed(r.Method + " " + path.Base(path.Dir(r.URL.Path)))
	}
	return nil, errors.Join(killedError{errors.New("killed")}, answer.Body.Close())
}

// untilItEnds repeats something that is killed at each call that changes something, until it comes to its end. It returns the
// calls that took effect and at which it was killed.
func (l *lab) untilItEnds(t *testing.T, system string, do func(*azure.Executor) error) (calls []string) {
	t.Helper()
	for range 200 { // also at calls that are refused
		for _, before := range []bool{true, false} {
			e := l.hosting(t, system)
			azure.Wrap(e, func(next http.RoundTripper) http.RoundTripper {
				return &cut{next: next, before: before, killed: func(call string) { calls = append(calls, call) }}
			})
			if do(e) == nil {
				return calls
			}
		}
	}
	t.Fatal("it never comes to its end")
	return nil
}

func killedAt(t *testing.T, got []string, want string) {
	t.Helper()
	if strings.Join(got, ", ") != want {
		t.Errorf("it was killed at %s, want %s", strings.Join(got, ", "), want)
	}
}

// An apply, a takeover and a destroy are killed at each call of Azure, again and again until one comes to its end. Each deployment
// is made once, and nothing is left.
func TestEndpointsKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	const system = "online-killed"
	tasks := []executors.Task{hosted(t, "a", "one"), hosted(t, "b", "two")}
	ok(t, l.provision(system, tasks[0].Unit))
	var handles []state.Handle
	for i, task := range tasks {
		calls := l.untilItEnds(t, system, func(e *azure.Executor) error {
			h, err := e.Apply(t.Context(), task, nil)
			if err == nil {
				var st state.Status
				if st, err = e.Wait(t.Context(), h); err == nil && st.Phase != state.Ready {
					t.Fatalf("%+v", st)
				}
			}
			if err == nil {
				handles = append(handles, h)
			}
			return err
		})
		l.answers(t, handles[i], []string{"one", "two"}[i])
		killedAt(t, calls, []string{"PUT onlineEndpoints, PUT versions, PUT deployments, PUT onlineEndpoints", "PUT deployments, PUT onlineEndpoints"}[i])
	}
	l.deployedOnce(t, system)
	calls := l.untilItEnds(t, system, func(e *azure.Executor) error { return e.Destroy(t.Context(), handles[1]) }) // it goes back
	killedAt(t, calls, "PUT onlineEndpoints, DELETE deployments")
	l.answers(t, handles[0], "one")
	calls = l.untilItEnds(t, system, func(e *azure.Executor) error { return e.Destroy(t.Context(), handles[0]) })
	killedAt(t, calls, "DELETE onlineEndpoints")
	l.nothingLeft(t, system)
}

// released makes the task of a challenger that answers "two" beside a champion that answers "one".
func released(t *testing.T, name string, weight int) executors.Task {
	t.Helper()
	task, champion := hosted(t, "v2", "two"), hosted(t, "v1", "one")
	first := dividing(1, weight)
	task.Name, task.Beside, task.Route = name, map[string]executors.Task{"v1": champion}, &first
	return task
}

// dividing gives the challenger v2 a weight, and the champion v1 the rest.
func dividing(serial int64, weight int) step.Route {
	return step.Route{Serial: serial, Versions: []step.RouteVersion{{Name: "v1", Weight: 100 - weight}, {Name: "v2", Weight: weight}}}
}

// In a release, two deployments divide the requests as the route says, until one of them is left, or the champion alone takes over
// again.
func TestReleaseOnAnEndpoint(t *testing.T) {
	l := newLab(t)
	const system = "online-release"
	e := l.hosting(t, system)
	alone := hosted(t, "a", "one")
	ok(t, l.provision(system, alone.Unit))
	first, err := e.Apply(t.Context(), alone, nil)
	ok(t, err)
	becomesReady(t, e, first)
	task := released(t, "api-release-1", 0)
	h, err := e.Apply(t.Context(), task, &first)
	ok(t, err)
	becomesReady(t, e, h)
	ok(t, e.Destroy(t.Context(), first)) // as the engine does once the challenger is ready
	effective := func(serial int64, versions int) {
		t.Helper()
		seen, err := l.hosting(t, system).Observe(t.Context(), h)
		ok(t, err)
		if seen == nil || seen.Serial != serial || time.Since(seen.Since) > time.Minute || len(seen.Versions) != versions {
			t.Errorf("observed %+v, want the route %d", seen, serial)
		}
	}
	effective(1, 2)
	l.answers(t, h, "one")
	ok(t, e.SetRoute(t.Context(), h, dividing(2, 50)))
	effective(2, 2)
	by := map[string]string{}
	for range 40 {
		_, body, deployment := l.scores(t, h.Endpoint, l.Key(h.Endpoint))
		by[deployment[strings.LastIndexByte(deployment, '-')+1:]] = body
	}
	if by["main"] != "one" || by["next"] != "two" {
		t.Errorf("with equal weights it answers %v", by)
	}
	becomesReady(t, e, h) // another wait leaves the route as it is
	effective(2, 2)
	if found, err := e.Find(t.Context(), task.Name, task.Dir); err != nil || found == nil || found.Endpoint != h.Endpoint {
		t.Errorf("found %+v, %v, and it is %s", found, err, h.Data)
	}
	ok(t, e.SetRoute(t.Context(), h, dividing(3, 100)))
	l.answers(t, h, "two")
	last := step.Route{Serial: 4, Versions: []step.RouteVersion{{Name: "v2", Weight: 100}}}
	killedAt(t, l.untilItEnds(t, system, func(e *azure.Executor) error { return e.SetRoute(t.Context(), h, last) }), "PUT onlineEndpoints, DELETE deployments")
	l.answers(t, h, "two")
	effective(4, 1)
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Ready {
		t.Errorf("%+v, %v", st, err)
	}
	if err := e.SetRoute(t.Context(), h, dividing(5, 50)); err == nil || !strings.Contains(err.Error(), "no longer runs a version of the route: apply again") {
		t.Errorf("a route with a version that is gone: %v", err)
	}

	// The champion takes over from the next release.
	h2, err := e.Apply(t.Context(), released(t, "api-release-2", 10), &h)
	ok(t, err)
	becomesReady(t, e, h2)
	ok(t, e.Destroy(t.Context(), h))
	back := hosted(t, "z", "one")
	h3, err := e.Apply(t.Context(), back, &h2)
	ok(t, err)
	becomesReady(t, e, h3)
	ok(t, e.Destroy(t.Context(), h2))
	l.answers(t, h3, "one")
	ok(t, e.Destroy(t.Context(), h3))
	l.deployedOnce(t, system)
	l.nothingLeft(t, system)

	// A release that is destroyed as a whole leaves nothing either.
	h4, err := e.Apply(t.Context(), released(t, "api-release-3", 50), nil)
	ok(t, err)
	becomesReady(t, e, h4)
	ok(t, e.Destroy(t.Context(), h4))
	l.nothingLeft(t, system)
}
