package gcp_test

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
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/gcp"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// onVertex is the setting with which the deployment "api" is an endpoint of Vertex AI.
var onVertex = map[string]gcp.Endpoint{"api": {On: "vertex"}}

// hosted makes the task of a version of the deployment "api", which answers with the name of its model.
func hosted(t *testing.T, version, model string, change ...func(*ir.Unit)) executors.Task {
	t.Helper()
	task := cloudtest.Task(t, version)
	task.Name, task.Version = "api-"+version+"-1", version
	task.Unit = ir.Unit{
		ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Component: "serve.http", Code: ir.Code{Runtime: ir.Plane, Command: []string{"worker.py"}, Lock: "sha256:0a"},
		Params: json.RawMessage(fmt.Sprintf(`{"deployment":"api","model":%q}`, model)), Outputs: []ir.Output{{Port: "endpoint", Kind: ir.EndpointOf}},
		Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/readyz", Replicas: 1},
	}
	for _, c := range change {
		c(&task.Unit)
	}
	return task
}

// hosting returns an executor that places "api" on Vertex AI, whose tenon-serve is small.
func (l *lab) hosting(t *testing.T, system string, change ...func(*gcp.Options)) *gcp.Executor {
	t.Helper()
	return l.executor(t, append([]func(*gcp.Options){func(o *gcp.Options) {
		o.System, o.Endpoints = system, onVertex
		o.Programs.Serve = func(context.Context) (string, error) { return os.Getenv(serveVar), nil }
	}}, change...)...)
}

func becomesReady(t *testing.T, e *gcp.Executor, h state.Handle) {
	t.Helper()
	if st, err := e.Wait(t.Context(), h); err != nil || st.Phase != state.Ready || st.Message != "" {
		t.Fatalf("%+v, %v", st, err)
	}
}

// predicts sends a request, and returns what answers and the deployed model.
func predicts(t *testing.T, url string) (body, id string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(`{"instances":[{}]}`))
	ok(t, err)
	b, err := io.ReadAll(resp.Body)
	ok(t, errors.Join(err, resp.Body.Close()))
	return string(b), resp.Header.Get("X-Vertex-Ai-Deployed-Model-Id")
}

func answers(t *testing.T, h state.Handle, want string) {
	t.Helper()
	if got, _ := predicts(t, h.Endpoint); got != want {
		t.Errorf("%s answers %q, want %q", h.Endpoint, got, want)
	}
}

// vertexHas returns the models and endpoints of a system.
func (l *lab) vertexHas(t *testing.T, system string) (names []string) {
	t.Helper()
	all, err := l.Hosted()
	ok(t, err)
	for _, name := range all {
		if strings.Contains(name, "/tenon-"+system+"-") {
			names = append(names, name)
		}
	}
	return names
}

// deployedOnce says that each model of a system was deployed once.
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

// A deployment is an endpoint, which stays the same: requests go to the version that was seen ready last.
func TestEndpoint(t *testing.T) {
	l := newLab(t)
	const system = "endpoint"
	e := l.hosting(t, system)
	first := hosted(t, "a", "one")
	ok(t, l.provision(system, first.Unit))
	h, err := e.Apply(t.Context(), first, nil)
	ok(t, err)
	becomesReady(t, e, h)
	answers(t, h, "one")
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

	// Versions that do not become ready get no requests, and say why.
	const failure = "its container ended, or did not become ready in time: its log says more; raise timeout if the model takes long to load (Google Cloud: Model server "
	for model, last := range map[string]string{"broken": "error: the model is damaged", "never": "it starts as never"} {
		task := hosted(t, model, model, func(u *ir.Unit) { u.Timeout = time.Second })
		b, err := e.Apply(t.Context(), task, &h)
		ok(t, err)
		if st, err := e.Wait(t.Context(), b); err != nil || st.Phase != state.Failed || !strings.HasPrefix(st.Message, failure) || !strings.HasSuffix(st.Message, "; it printed last: "+last) {
			t.Errorf("%s: %+v, %v", model, st, err)
		}
		answers(t, h, "one")
		ok(t, e.Destroy(t.Context(), b))
	}
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Ready {
		t.Errorf("the first: %+v, %v", st, err)
	}

	// Another version takes over. If it is given up after that, the one before answers again.
	next, err := e.Apply(t.Context(), hosted(t, "b", "two"), &h)
	ok(t, err)
	answers(t, next, "one")
	becomesReady(t, e, next)
	answers(t, h, "two")
	ok(t, e.Destroy(t.Context(), next))
	answers(t, h, "one")

	// The system may have another target by now.
	elsewhere := l.executor(t, func(o *gcp.Options) { o.System, o.Settings = "", gcp.Settings{} })
	ok(t, elsewhere.Destroy(t.Context(), h))
	ok(t, elsewhere.Destroy(t.Context(), h))
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Absent {
		t.Errorf("%+v, %v", st, err)
	}
	if left := l.vertexHas(t, system); len(left) > 0 {
		t.Errorf("it has left %v", left)
	}
}

// What Google refuses becomes an error that says what to change. The endpoint of another state stays.
func TestAnEndpointThatVertexAIRefuses(t *testing.T) {
	l := newLab(t)
	const system = "refused-endpoint"
	mine, theirs := hosted(t, "a", "one"), hosted(t, "t", "two")
	e := l.hosting(t, system)
	ok(t, l.provision(system))
	if _, err := e.Apply(t.Context(), mine, nil); err == nil || !strings.Contains(err.Error(), "the service account of the unit does not exist, for which apply the infrastructure") {
		t.Errorf("without an account: %v", err)
	}
	ok(t, l.provision(system, mine.Unit))
	ok(t, l.Refuse("RESOURCE_EXHAUSTED", "The following quotas are exceeded: CustomModelServingL4GPUsPerProjectPerRegion quota"))
	_, err := e.Apply(t.Context(), mine, nil)
	if lacking := (*executors.LackingError)(nil); !errors.As(err, &lacking) || !strings.Contains(err.Error(), "a quota of the project for machines of endpoints is used up or 0") {
		t.Errorf("without a quota: %v", err)
	}
	h, err := e.Apply(t.Context(), mine, nil)
	ok(t, err)
	becomesReady(t, e, h)
	_, err = l.hosting(t, system, func(o *gcp.Options) { o.State = "theirs" }).Apply(t.Context(), theirs, nil)
	if err == nil || !strings.Contains(err.Error(), "already has an endpoint tenon-refused-endpoint-deployments-api of Vertex AI, which is not of this state") {
		t.Errorf("in another state: %v", err)
	}
	ok(t, e.Destroy(t.Context(), h))
	if left := l.vertexHas(t, system); len(left) > 0 {
		t.Errorf("it has left %v", left)
	}
}

// A cut is Google Cloud as seen by a tenon that is killed at the first call that changes something: before Google gets it, or
// after, without its answer. From then on it calls nothing.
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
	changes := r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/entries:list")
	if c.dead || changes && c.before {
		c.dead = true
		return nil, errKilled
	}
	answer, err := c.next.RoundTrip(r)
	if err != nil || !changes {
		return answer, err
	}
	c.dead = true
	last := path.Base(r.URL.Path)
	if _, verb, is := strings.Cut(last, ":"); is {
		last = verb
	} else if r.Method == http.MethodDelete {
		last = path.Base(path.Dir(r.URL.Path))
	} else if r.Method == http.MethodPatch {
		last = "split"
	}
	if answer.StatusCode == http.StatusOK { // and not refused, because the one before has not ended
		c.killed(r.Method + " " + last)
	}
	return nil, errors.Join(errKilled, answer.Body.Close())
}

// untilItEnds repeats something that is killed at each call that changes something, until it comes to its end. It returns the
// calls that took effect and at which it was killed.
func (l *lab) untilItEnds(t *testing.T, system string, do func(*gcp.Executor) error) (calls []string) {
	t.Helper()
	for range 200 { // also at calls that are refused
		for _, before := range []bool{true, false} {
			e := l.hosting(t, system)
			gcp.Wrap(e, func(next http.RoundTripper) http.RoundTripper {
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

// An apply, a takeover and a destroy are killed at each call of Google Cloud, again and again until one comes to its end.
// Each model is deployed once, and nothing is left.
func TestEndpointsKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	const system = "killed-endpoint"
	tasks := []executors.Task{hosted(t, "a", "one"), hosted(t, "b", "two")}
	ok(t, l.provision(system, tasks[0].Unit))
	var handles []state.Handle
	for i, task := range tasks {
		calls := l.untilItEnds(t, system, func(e *gcp.Executor) error {
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
		answers(t, handles[i], []string{"one", "two"}[i])
		killedAt(t, calls, []string{"POST upload, POST endpoints, POST deployModel, PATCH split", "POST upload, POST deployModel, PATCH split"}[i])
	}
	l.deployedOnce(t, system)
	calls := l.untilItEnds(t, system, func(e *gcp.Executor) error { return e.Destroy(t.Context(), handles[1]) }) // it goes back
	killedAt(t, calls, "PATCH split, POST undeployModel, DELETE models")
	answers(t, handles[0], "one")
	calls = l.untilItEnds(t, system, func(e *gcp.Executor) error { return e.Destroy(t.Context(), handles[0]) })
	killedAt(t, calls, "POST undeployModel, DELETE endpoints, DELETE models")
	if left := l.vertexHas(t, system); len(left) > 0 {
		t.Errorf("it has left %v", left)
	}
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

// In a release, two deployed models divide the requests as the route says, until one of them is left, or the champion alone
// takes over again.
func TestReleaseOnAnEndpoint(t *testing.T) {
	l := newLab(t)
	const system = "endpoint-release"
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
	answers(t, h, "one")
	ok(t, e.SetRoute(t.Context(), h, dividing(2, 50)))
	effective(2, 2)
	by := map[string]string{}
	for range 40 {
		body, id := predicts(t, h.Endpoint)
		by[id] = body
	}
	if by[gcp.DeployedID(t, e, h, "main")] != "one" || by[gcp.DeployedID(t, e, h, "next")] != "two" {
		t.Errorf("with equal weights it answers %v", by)
	}
	becomesReady(t, e, h) // another wait leaves the route as it is
	effective(2, 2)
	if found, err := e.Find(t.Context(), task.Name, task.Dir); err != nil || found == nil || found.Endpoint != h.Endpoint {
		t.Errorf("found %+v, %v, and it is %s", found, err, h.Data)
	}
	ok(t, e.SetRoute(t.Context(), h, dividing(3, 100)))
	answers(t, h, "two")
	last := step.Route{Serial: 4, Versions: []step.RouteVersion{{Name: "v2", Weight: 100}}}
	killedAt(t, l.untilItEnds(t, system, func(e *gcp.Executor) error { return e.SetRoute(t.Context(), h, last) }), "PATCH split, POST undeployModel")
	answers(t, h, "two")
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
	answers(t, h3, "one")
	ok(t, e.Destroy(t.Context(), h3))
	l.deployedOnce(t, system)
	if left := l.vertexHas(t, system); len(left) > 0 {
		t.Errorf("it has left %v", left)
	}

	// An apply that is killed between the two models is not ready. The next one continues.
	task = released(t, "api-release-4", 50)
	deploys := 0
	killed := l.hosting(t, system)
	gcp.Wrap(killed, func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, ":deployModel") {
				deploys++
			}
			if deploys > 1 {
				return nil, errKilled
			}
			return next.RoundTrip(r)
		})
	})
	if _, err := killed.Apply(t.Context(), task, nil); err == nil {
		t.Fatal("it was not killed")
	}
	half, err := e.Find(t.Context(), task.Name, task.Dir)
	ok(t, err)
	if st, err := e.Inspect(t.Context(), *half); err != nil || st.Phase != state.Absent {
		t.Errorf("half of it: %+v, %v", st, err)
	}
	whole, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	becomesReady(t, e, whole)
	ok(t, e.Destroy(t.Context(), whole))

	// A release that is destroyed as a whole leaves nothing either.
	h4, err := e.Apply(t.Context(), released(t, "api-release-3", 50), nil)
	ok(t, err)
	becomesReady(t, e, h4)
	ok(t, e.Destroy(t.Context(), h4))
	if left := l.vertexHas(t, system); len(left) > 0 {
		t.Errorf("it has left %v", left)
	}
}
