package aws_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/internal/test/awstest"
	"github.com/tenon-ml/tenon/planner/state"
)

// function makes the task of a version of the deployment "api", which answers with the name of its
// model.
func function(t *testing.T, version, model string, change ...func(*ir.Unit)) executors.Task {
	t.Helper()
	root := t.TempDir()
	task := executors.Task{
		Unit: ir.Unit{
			ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Component: "serve.http", Code: ir.Code{Runtime: ir.Plane, Command: []string{"worker.py"}, Lock: "sha256:0a"},
			Params: json.RawMessage(fmt.Sprintf(`{"deployment":"api","model":%q}`, model)), Outputs: []ir.Output{{Port: "endpoint", Kind: ir.EndpointOf}},
			Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/readyz", Replicas: 1}, Needs: ir.Resources{Memory: 300 << 20},
		},
		Key: version, Name: "deployments-api-" + version + "-1", Dir: filepath.Join(root, "run"), Code: filepath.Join(root, "code"),
	}
	for _, c := range change {
		c(&task.Unit)
	}
	for _, dir := range []string{task.Dir, task.Code} {
		ok(t, os.MkdirAll(dir, 0o755))
	}
	return task
}

// functions returns an executor whose tenon-serve is small.
func (l *lab) functions(t *testing.T, system string, change ...func(*aws.Options)) *aws.Executor {
	t.Helper()
	return l.executor(t, append([]func(*aws.Options){func(o *aws.Options) {
		o.System, o.Programs.Serve = system, func(context.Context) (string, error) { return os.Getenv(functionVar), nil }
	}}, change...)...)
}

// asked sends a request to the URL of a function, signed or not.
func asked(t *testing.T, url string, signed bool) (int, string) {
	t.Helper()
	const body = `{"instances":[]}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/predict?a=1", strings.NewReader(body))
	ok(t, err)
	if signed {
		ok(t, awstest.Sign(r, body))
	}
	resp, err := http.DefaultClient.Do(r)
	ok(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ok(t, err)
	return resp.StatusCode, string(b)
}

func ready(t *testing.T, e *aws.Executor, h state.Handle) {
	t.Helper()
	if st, err := e.Wait(t.Context(), h); err != nil || st.Phase != state.Ready {
		t.Fatalf("%+v, %v", st, err)
	}
}

// swept says that nothing is left of a system.
func (l *lab) swept(t *testing.T, system string) {
	t.Helper()
	left, err := l.Left(t.Context(), system)
	ok(t, err)
	if len(left) > 0 {
		t.Errorf("it has left %v", left)
	}
}

// A deployment is a function with a URL, which stays the same: requests that are signed go to the
// version that was seen ready last.
func TestFunction(t *testing.T) {
	l := newLab(t)
	const system = "function"
	e := l.functions(t, system)
	first := function(t, "a", "one", func(u *ir.Unit) { u.Endpoint.Scale, u.Endpoint.Replicas = &ir.Scale{Max: 3}, 0 })
	ok(t, l.provision(t.Context(), system, first))
	ok(t, l.Unassumed(2)) // its role is new
	h, err := e.Apply(t.Context(), first, nil)
	ok(t, err)
	if h.Endpoint != "" {
		t.Errorf("before it is ready, it has the URL %s", h.Endpoint)
	}
	ready(t, e, h)
	h.Endpoint = located(t, e, h)
	if status, body := asked(t, h.Endpoint, true); status != 200 || body != "one" {
		t.Errorf("%d %s", status, body)
	}
	if status, body := asked(t, h.Endpoint, false); status != 403 || !strings.Contains(body, "Forbidden") {
		t.Errorf("without a signature: %d %s", status, body)
	}
	if again, err := e.Apply(t.Context(), first, nil); err != nil || again.ID != h.ID || again.Endpoint != h.Endpoint {
		t.Errorf("applied again: %+v, %v", again, err)
	}
	if found, err := l.functions(t, system).Find(t.Context(), first.Name, first.Dir); err != nil || found == nil || found.ID != h.ID || found.Endpoint != h.Endpoint {
		t.Errorf("found %+v, %v", found, err)
	}
	var log bytes.Buffer
	ok(t, e.Logs(t.Context(), h, &log, false))
	if !strings.Contains(log.String(), "it starts as one\n") {
		t.Errorf("the log is %q", log.String())
	}

	// Versions that do not become ready get no requests, and say why.
	for model, want := range map[string]string{
		"broken": "it does not start: Tenon.Init: the model is damaged; it printed last: error: the model is damaged",
		"killed": "it used more memory than its container has: raise needs.memory (AWS: ",
	} {
		task := function(t, model, model)
		b, err := e.Apply(t.Context(), task, &h)
		ok(t, err)
		if st, err := e.Wait(t.Context(), b); err != nil || st.Phase != state.Failed || !strings.HasPrefix(st.Message, want) {
			t.Errorf("%s: %+v, %v", model, st, err)
		}
		ok(t, e.Destroy(t.Context(), b))
	}
	never, err := e.Apply(t.Context(), function(t, "n", "never"), &h)
	ok(t, err)
	if st, err := e.Inspect(t.Context(), never); err != nil || st.Phase != state.Running || st.Message != "it answers /readyz with 503: not yet" {
		t.Errorf("%+v, %v", st, err)
	}
	ok(t, e.Destroy(t.Context(), never))
	if status, body := asked(t, h.Endpoint, true); status != 200 || body != "one" {
		t.Errorf("%d %s", status, body)
	}

	// Another version takes over. If it is given up after that, the one before answers again.
	two := function(t, "b", "two")
	next, err := e.Apply(t.Context(), two, &h)
	ok(t, err)
	if status, body := asked(t, next.Endpoint, true); status != 200 || body != "one" || next.Endpoint != h.Endpoint {
		t.Errorf("before it is ready, at %s: %d %s", next.Endpoint, status, body)
	}
	ready(t, e, next)
	if status, body := asked(t, h.Endpoint, true); status != 200 || body != "two" {
		t.Errorf("%d %s", status, body)
	}
	ok(t, e.Destroy(t.Context(), next))
	if status, body := asked(t, h.Endpoint, true); status != 200 || body != "one" {
		t.Errorf("%d %s", status, body)
	}
	// The system may have another target by now.
	elsewhere := l.executor(t, func(o *aws.Options) { o.System, o.Settings = "", aws.Settings{} })
	ok(t, elsewhere.Destroy(t.Context(), h))
	ok(t, elsewhere.Destroy(t.Context(), h))
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Absent {
		t.Errorf("%+v, %v", st, err)
	}
	l.swept(t, system)
}

// A function of another state, or without tags, is not touched.
func TestAFunctionOfAnotherState(t *testing.T) {
	l := newLab(t)
	const system = "foreign"
	task := function(t, "a", "one")
	ok(t, l.provision(t.Context(), system, task))
	theirs := l.functions(t, system, func(o *aws.Options) { o.State = "theirs" })
	h, err := theirs.Apply(t.Context(), task, nil)
	ok(t, err)
	ours := l.functions(t, system, func(o *aws.Options) { o.State = "ours" })
	if _, err := ours.Apply(t.Context(), function(t, "a", "one"), nil); err == nil || !strings.Contains(err.Error(), `already has a function tenon-foreign-deployments-api, which is not of this state`) {
		t.Errorf("%v", err)
	}
	ok(t, theirs.Destroy(t.Context(), h))
	l.swept(t, system)
}

// until repeats something that is killed after each call of AWS Lambda, without its answer, until it comes to its end.
func (l *lab) until(t *testing.T, system string, do func(*aws.Executor) error) {
	t.Helper()
	for at := 1; at < 40; at++ {
		e := l.functions(t, system)
		aws.Configure(e, (&mortal{service: "Lambda", at: at}).configure)
		if do(e) == nil {
			return
		}
	}
	t.Fatal("it never comes to its end")
}

// An apply, a takeover and a destroy are killed after each call of AWS Lambda, again and again until
// one comes to its end. Each version is published once, and a sweep by tags finds nothing.
func TestFunctionKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	const system = "killed-function"
	tasks := []executors.Task{function(t, "a", "one"), function(t, "b", "two")}
	ok(t, l.provision(t.Context(), system, tasks[0]))
	until := func(do func(*aws.Executor) error) { t.Helper(); l.until(t, system, do) }
	var handles []state.Handle
	for i, task := range tasks {
		var h state.Handle
		until(func(e *aws.Executor) (err error) {
			h, err = e.Apply(t.Context(), task, nil)
			return err
		})
		until(func(e *aws.Executor) error {
			st, err := e.Wait(t.Context(), h)
			if err == nil && st.Phase != state.Ready {
				err = fmt.Errorf("%+v", st)
			}
			return err
		})
		if n := strings.Count(string(h.Data), fmt.Sprintf(":function:tenon-%s-deployments-api:%d\"", system, i+1)); n != 1 {
			t.Errorf("it is not version %d: %s", i+1, h.Data)
		}
		handles = append(handles, h)
	}
	until(func(e *aws.Executor) error { return e.Destroy(t.Context(), handles[0]) })
	if status, body := asked(t, located(t, l.functions(t, system), handles[1]), true); status != 200 || body != "two" {
		t.Errorf("%d %s", status, body)
	}
	until(func(e *aws.Executor) error { return e.Destroy(t.Context(), handles[1]) })
	l.swept(t, system)
}
