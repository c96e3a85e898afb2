package aws_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/internal/test/awstest"
	"github.com/tenon-ml/tenon/planner/state"
)

// onSageMaker places the deployment "api" on an endpoint.
func onSageMaker(o *aws.Options) {
	o.Endpoints = map[string]aws.Endpoint{"api": {On: "sagemaker", Instance: "ml.m5.large"}}
}

// served makes the task of a version of the deployment "api", as [function] does, which runs in an image.
func served(t *testing.T, version, model string, change ...func(*ir.Unit)) executors.Task {
	t.Helper()
	task := function(t, version, model, append([]func(*ir.Unit){func(u *ir.Unit) { u.Needs = ir.Resources{} }}, change...)...)
	task.Image = cloudtest.Image()
	return task
}

// hosting returns an executor that places "api" on an endpoint, whose tenon-serve is small.
func (l *lab) hosting(t *testing.T, system string, change ...func(*aws.Options)) *aws.Executor {
	t.Helper()
	return l.functions(t, system, append([]func(*aws.Options){onSageMaker}, change...)...)
}

func (l *lab) provisionHosted(t *testing.T, system string, task executors.Task) {
	t.Helper()
	target := l.target()
	target.Settings["endpoints"] = map[string]any{"api": map[string]any{"on": "sagemaker", "instance": "ml.m5.large"}}
	ok(t, l.provisionOn(t.Context(), target, system, task))
}

// invoked sends a signed request to an endpoint. It returns the variant that answered.
func invoked(t *testing.T, url string) (status int, body, variant string) {
	t.Helper()
	const ask = `{"instances":[]}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(ask))
	ok(t, err)
	r.Header.Set("Content-Type", "application/json")
	ok(t, awstest.Sign(r, ask))
	resp, err := http.DefaultClient.Do(r)
	ok(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ok(t, err)
	return resp.StatusCode, string(b), resp.Header.Get("X-Amzn-Invoked-Production-Variant")
}

func answers(t *testing.T, h state.Handle, want string) {
	t.Helper()
	if status, body, _ := invoked(t, h.Endpoint); status != 200 || body != want {
		t.Errorf("it answers %d %s, want %s", status, body, want)
	}
}

// A deployment is an endpoint, which stays the same: requests go to the version that was seen ready last.
func TestEndpoint(t *testing.T) {
	l := newLab(t)
	const system = "endpoint"
	e := l.hosting(t, system)
	first := served(t, "a", "one")
	l.provisionHosted(t, system, first)
	h, err := e.Apply(t.Context(), first, nil)
	ok(t, err)
	ready(t, e, h)
	answers(t, h, "one")
	if again, err := e.Apply(t.Context(), first, nil); err != nil || string(again.Data) != string(h.Data) {
		t.Errorf("applied again: %s, %v", again.Data, err)
	}
	if found, err := l.hosting(t, system).Find(t.Context(), first.Name, first.Dir); err != nil || found == nil || string(found.Data) != string(h.Data) || found.Endpoint != h.Endpoint {
		t.Errorf("found %+v, %v, and it is %s", found, err, h.Data)
	}
	var log bytes.Buffer
	ok(t, e.Logs(t.Context(), h, &log, false))
	if log.String() != "it starts as one\n" {
		t.Errorf("the log is %q", log.String())
	}

	// Versions that do not become ready get no requests, and say why.
	ok(t, l.Endpoints(2*time.Second))
	for model, want := range map[string]string{
		"broken": "its container did not become ready in time: its log says more; raise timeout if the model takes long to load (AWS: ",
		"never":  "its container did not become ready in time: ",
	} {
		task := served(t, model, model)
		b, err := e.Apply(t.Context(), task, &h)
		ok(t, err)
		if st, err := e.Wait(t.Context(), b); err != nil || st.Phase != state.Failed || !strings.HasPrefix(st.Message, want) || !strings.HasSuffix(st.Message, map[string]string{"broken": "; it printed last: error: the model is damaged", "never": "it starts as never"}[model]) {
			t.Errorf("%s: %+v, %v", model, st, err)
		}
		answers(t, h, "one")
		ok(t, e.Destroy(t.Context(), b))
	}
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Ready {
		t.Errorf("the first: %+v, %v", st, err)
	}

	// Another version takes over. If it is given up after that, the one before answers again.
	next, err := e.Apply(t.Context(), served(t, "b", "two"), &h)
	ok(t, err)
	answers(t, next, "one")
	ready(t, e, next)
	answers(t, h, "two")
	ok(t, e.Destroy(t.Context(), next))
	answers(t, h, "one")
	// The system may have another target by now.
	elsewhere := l.executor(t, func(o *aws.Options) { o.System, o.Settings = "", aws.Settings{} })
	ok(t, elsewhere.Destroy(t.Context(), h))
	ok(t, elsewhere.Destroy(t.Context(), h))
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Absent {
		t.Errorf("%+v, %v", st, err)
	}
	l.swept(t, system)
	if n := cloudtest.Processes(t, "TENON_TEST_ENDPOINT=tenon-"+system); n > 0 {
		t.Errorf("%d processes are left", n)
	}
}

// What AWS refuses becomes an error that says what to change, and leaves nothing.
func TestAnEndpointThatAWSRefuses(t *testing.T) {
	l := newLab(t)
	const system = "refused-endpoint"
	task := served(t, "a", "one")
	l.provisionHosted(t, system, task)
	theirs := l.hosting(t, system, func(o *aws.Options) { o.State = "theirs" })
	h, err := theirs.Apply(t.Context(), task, nil)
	ok(t, err)
	ready(t, theirs, h)
	ours := l.hosting(t, system, func(o *aws.Options) { o.State = "ours" })
	if _, err := ours.Apply(t.Context(), served(t, "a", "one"), nil); err == nil || !strings.Contains(err.Error(), `already has an endpoint tenon-refused-endpoint-deployments-api, which is not of this state`) {
		t.Errorf("%v", err)
	}
	ok(t, theirs.Destroy(t.Context(), h))
	l.swept(t, system)

	const quota = "ml.t2.medium for endpoint usage"
	ok(t, l.SetQuota("sagemaker", quota, 1))
	e := l.hosting(t, system, func(o *aws.Options) { o.Endpoints["api"] = aws.Endpoint{On: "sagemaker", Instance: "ml.t2.medium"} })
	two := served(t, "q", "one", func(u *ir.Unit) { u.Endpoint.Replicas = 2 })
	if _, err := e.Admit(t.Context(), []ir.Unit{two.Unit}); err == nil || !strings.Contains(err.Error(), `deployments/api needs 2 of the quota "`+quota+`"`) {
		t.Errorf("%v", err)
	}
	if _, err := e.Apply(t.Context(), two, nil); err == nil || !strings.Contains(err.Error(), "a quota of the account is used up or 0: raise the one that AWS names") {
		t.Errorf("%v", err)
	}
	left, err := e.Find(t.Context(), two.Name, two.Dir)
	ok(t, err)
	ok(t, e.Destroy(t.Context(), *left))
	l.swept(t, system)

	// An update needs the new instances beside the old ones, and a release those of both versions.
	ok(t, l.SetQuota("sagemaker", quota, 2))
	at := func() *aws.Executor {
		return l.hosting(t, system, func(o *aws.Options) { o.Endpoints["api"] = aws.Endpoint{On: "sagemaker", Instance: "ml.t2.medium"} })
	}
	one := served(t, "p", "one")
	h, err = at().Apply(t.Context(), one, nil)
	ok(t, err)
	ready(t, at(), h)
	for _, u := range []ir.Unit{two.Unit, served(t, "r", "one", func(u *ir.Unit) { u.Release = &ir.Release{} }).Unit} {
		_, err := at().Admit(t.Context(), []ir.Unit{u})
		if err == nil || !strings.Contains(err.Error(), `deployments/api during its update (1 are there, and 2 start beside them) needs 3 of the quota "`+quota+`"`) {
			t.Errorf("%v", err)
		}
	}
	if asked, err := at().Admit(t.Context(), []ir.Unit{one.Unit}); err != nil || !asked {
		t.Errorf("%v, %v", asked, err)
	}
	if _, err := at().Apply(t.Context(), two, &h); err == nil || !strings.Contains(err.Error(), "a quota of the account is used up") {
		t.Errorf("%v", err)
	}
	left, err = at().Find(t.Context(), two.Name, two.Dir)
	ok(t, err)
	ok(t, at().Destroy(t.Context(), *left))
	answers(t, h, "one")
	ok(t, at().Destroy(t.Context(), h))
	l.swept(t, system)
}

// An apply, a takeover and a destroy are killed after each call of SageMaker, again and again until one comes to
// its end. Everything is created once, and a sweep by tags finds nothing.
func TestEndpointKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	const system = "killed-endpoint"
	tasks := []executors.Task{served(t, "a", "one"), served(t, "b", "two")}
	l.provisionHosted(t, system, tasks[0])
	// until repeats something that is killed after each call, without its answer.
	until := func(do func(*aws.Executor) error) {
		t.Helper()
		for at := 1; at < 100; at++ {
			e := l.hosting(t, system, func(o *aws.Options) { o.Pause = 400 * time.Millisecond })
			aws.Configure(e, (&mortal{service: "SageMaker", at: at}).overHTTP)
			if do(e) == nil {
				return
			}
		}
		t.Fatal("it never comes to its end")
	}
	var handles []state.Handle
	for i, task := range tasks {
		var h state.Handle
		until(func(e *aws.Executor) (err error) {
			h, err = e.Apply(t.Context(), task, nil)
			return err
		})
		ready(t, l.hosting(t, system), h)
		answers(t, h, []string{"one", "two"}[i])
		for _, name := range aws.EndpointNames(h) {
			if n, err := l.Hosted(name); err != nil || n != 1 {
				t.Errorf("%s was created %d times, %v", name, n, err)
			}
		}
		handles = append(handles, h)
	}
	until(func(e *aws.Executor) error { return e.Destroy(t.Context(), handles[1]) }) // it goes back
	answers(t, handles[0], "one")
	until(func(e *aws.Executor) error { return e.Destroy(t.Context(), handles[0]) })
	l.swept(t, system)
}
