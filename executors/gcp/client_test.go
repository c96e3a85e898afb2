package gcp

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// answering returns an executor whose APIs answer as a function does.
func answering(t *testing.T, answer http.HandlerFunc) *Executor {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	for _, api := range []string{"RUN", "LOGGING", "SECRETMANAGER", "AIPLATFORM"} {
		t.Setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_"+api, server.URL+"/")
	}
	return New(Options{LogPause: time.Nanosecond})
}

func refuse(w http.ResponseWriter, code int, text string) {
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}

// A call is repeated while its failure may pass, and otherwise says what to do. No credentials go over a connection
// that is not encrypted.
func TestCalls(t *testing.T) {
	for _, c := range []struct {
		name  string
		code  int
		text  string
		tries int
		want  string
	}{
		{"a fault that passes", 503, `{"error": {"status": "UNAVAILABLE", "message": "busy"}}`, 2, ""},
		{"an API that is not enabled", 403, `{"error": {"status": "PERMISSION_DENIED", "message": "Cloud Run Admin API has not been used", "details": [{"reason": "SERVICE_DISABLED"}]}}`, 1,
			"PERMISSION_DENIED: Cloud Run Admin API has not been used: enable the API: apply the infrastructure"},
		{"an account without a bill", 403, `{"error": {"status": "PERMISSION_DENIED", "message": "This API method requires billing", "details": [{"reason": "BILLING_DISABLED"}]}}`, 1, "link the project to a billing account"},
		{"a right", 403, `{"error": {"status": "PERMISSION_DENIED", "message": "Permission 'run.jobs.get' denied"}}`, 1, "grant the right to these credentials: docs/gcp.md lists the rights"},
		{"credentials", 401, `{"error": {"status": "UNAUTHENTICATED", "message": "Request had invalid credentials"}}`, 1, "log in again: gcloud auth application-default login"},
		{"a region", 400, `{"error": {"status": "INVALID_ARGUMENT", "message": "Location europe-west99 is not found"}}`, 1, "check the region of the target"},
		{"no JSON", 502, "<html>bad\n gateway</html>", 2, ""},
		{"an answer of another kind", 400, "<html>bad\n gateway</html>", 1, "Bad Request: <html>bad gateway</html>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			e := answering(t, func(w http.ResponseWriter, r *http.Request) {
				if calls++; calls > 1 {
					_, _ = w.Write([]byte(`{"name": "a"}`))
					return
				}
				if r.Header.Get("Authorization") != "" {
					t.Error("credentials are sent in clear")
				}
				refuse(w, c.code, c.text)
			})
			var job runJob
			_, err := e.client.get(t.Context(), "projects/p/locations/l/jobs/a", &job)
			if c.want == "" && (err != nil || job.Name != "a") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || calls != c.tries {
				t.Errorf("got %v after %d calls, want %q after %d", err, calls, c.want, c.tries)
			}
		})
	}
}

// Quotas are explained, also where a call is not repeated until it succeeds.
func TestHints(t *testing.T) {
	for _, c := range []struct {
		e    refusal
		want string
	}{
		{refusal{code: 429, status: "RESOURCE_EXHAUSTED", message: "Quota exceeded"}, "a quota of the project is used up or 0"},
		{refusal{code: 403, message: "Permission 'iam.serviceaccounts.actAs' denied on service account x (or it may not exist)."}, "the service account of the unit does not exist"},
		{refusal{code: 400, message: "something else"}, ""},
	} {
		if got := hintOf(&c.e); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%+v: got %q, want %q", c.e, got, c.want)
		}
	}
}

// Credentials and a variable say whose quotas calls use.
func TestQuotaProjects(t *testing.T) {
	const file = `{"type": "authorized_user", "quota_project_id": "theirs"}`
	t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "")
	for credentials, want := range map[string]string{"": "", "{}": "", file: "theirs"} {
		if got := quotaProject([]byte(credentials)); got != want {
			t.Errorf("%s: got %q, want %q", credentials, got, want)
		}
	}
	t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "mine")
	if got := quotaProject([]byte(file)); got != "mine" {
		t.Errorf("got %q", got)
	}
}

// Who may not search Vertex AI has started nothing there. Other faults are errors.
func TestFindWithoutRightsOnVertexAI(t *testing.T) {
	for code, want := range map[int]string{403: "", 400: "list the models of Vertex AI on Google Cloud: Bad Request: no"} {
		e := answering(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.Contains(r.URL.Path, "/models") || strings.Contains(r.URL.Path, "/customJobs"):
				refuse(w, code, `{"error": {"message": "no"}}`)
			case strings.HasSuffix(r.URL.Path, "/services"):
				_, _ = w.Write([]byte("{}"))
			default:
				refuse(w, 404, `{"error": {"status": "NOT_FOUND"}}`)
			}
		})
		e.opts.Project, e.opts.Region = "p", "europe-west4"
		h, err := e.Find(t.Context(), "a-1", "")
		if h != nil || want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d: got %v, %v, want %q", code, h, err, want)
		}
	}
}

// The operation that deploys the second of two models may end after the endpoint was read, and before the operation is: a
// look then reads the endpoint again.
func TestALookBetweenTwoDeployments(t *testing.T) {
	looks := 0
	st := taskState{Project: "p", Region: "europe-west4", Unit: "deployments/api", Run: "api", Token: "abcd"}
	st.Endpoint, st.Operation, st.Versions = "api", "operations/1", map[string]string{cloud.MainVariant: "a", cloud.NextVariant: "b"}
	e := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/operations/") {
			_ = json.NewEncoder(w).Encode(operation{Done: true})
			return
		}
		x := hostedEndpoint{Labels: map[string]string{labelOwner: st.owner()}, Deployed: []deployedModel{{ID: st.deployed(cloud.MainVariant)}}}
		if looks++; looks > 1 {
			x.Deployed = append(x.Deployed, deployedModel{ID: st.deployed(cloud.NextVariant)})
		}
		_ = json.NewEncoder(w).Encode(x)
	})
	now, err := (&followed{e: e, st: st}).lookHosted(t.Context())
	if err != nil || now.Phase != state.Ready || looks != 2 {
		t.Errorf("got %+v, %v after %d looks", now, err, looks)
	}
}

// What an apply that was killed has deployed keeps its machines, and the handle says which, although the target names others now.
func TestAHandleNamesTheMachinesThatRun(t *testing.T) {
	st := taskState{Project: "p", Region: "europe-west4", Unit: "deployments/api", Run: "api", Token: "abcd"}
	st.Endpoint, st.Machine, st.Versions = "api", "e2-standard-2", map[string]string{cloud.MainVariant: "a"}
	e := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		d := deployedModel{ID: st.deployed(cloud.MainVariant), Resources: hostedResources{Machine: customMachine{Type: "g2-standard-4"}}}
		_ = json.NewEncoder(w).Encode(hostedEndpoint{Labels: map[string]string{labelOwner: st.owner()}, Deployed: []deployedModel{d}})
	})
	op, err := e.deployAt(t.Context(), &st, cloud.MainVariant, ir.Unit{ID: st.Unit})
	if err != nil || op != "" || st.Machine != "g2-standard-4" {
		t.Errorf("the operation is %q, the machine %s: %v", op, st.Machine, err)
	}
}

// A deployed model without requests may be in the split of an endpoint or not.
func TestHowRequestsAreDivided(t *testing.T) {
	split := map[string]int{"1": 100}
	for _, c := range []struct {
		traffic map[string]int
		want    bool
	}{{nil, false}, {map[string]int{"1": 100}, true}, {map[string]int{"1": 100, "2": 0}, true}, {map[string]int{"1": 90, "2": 10}, false}, {map[string]int{"2": 100}, false}} {
		if got := (&hostedEndpoint{Traffic: c.traffic}).divides(split); got != c.want {
			t.Errorf("%v: got %v", c.traffic, got)
		}
	}
}

// A service that was made a moment ago has no URL yet: Find waits for it.
func TestFindWaitsForTheURLOfAService(t *testing.T) {
	looks := 0
	e := answering(t, func(w http.ResponseWriter, r *http.Request) {
		uri := ""
		if looks++; looks > 3 {
			uri = "https://a.run.app"
		}
		service := runService{Name: "services/tenon-s-deployments-api", URI: uri, Annotations: map[string]string{noteUnit: "deployments/api"},
			Template: &runRevisionSpec{Revision: "tenon-s-deployments-api-0000-abcd", Annotations: map[string]string{noteTask: "api-1", noteToken: "abcd"}}}
		var answer any = service
		switch {
		case strings.HasSuffix(r.URL.Path, "/services"):
			answer = runServices{Services: []runService{service}}
		case strings.Contains(r.URL.Path, "/jobs/"):
			refuse(w, 404, `{"error": {"status": "NOT_FOUND"}}`)
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	e.opts.System, e.opts.Project, e.opts.Region, e.opts.Pause = "s", "p", "europe-west4", time.Millisecond
	h, err := e.Find(t.Context(), "api-1", "")
	if err != nil || h == nil || h.Endpoint != "https://a.run.app" {
		t.Errorf("got %+v, %v", h, err)
	}
}

// A log is read once, whatever is asked again: entries of the last time, further pages, and what the quota refused.
func TestALogIsReadOnce(t *testing.T) {
	var asked []logQuery
	answers := []string{
		`{"entries": [{"insertId": "1", "timestamp": "2026-01-01T00:00:00Z", "textPayload": "a"}], "nextPageToken": "x"}`,
		`{"entries": [{"insertId": "2", "timestamp": "2026-01-01T00:00:01.5Z", "jsonPayload": {"b": 1}}]}`,
		"429",
		`{"entries": [{"insertId": "2", "timestamp": "2026-01-01T00:00:01.5Z", "jsonPayload": {"b": 1}}, {"insertId": "3", "timestamp": "2026-01-01T00:00:01.5Z", "textPayload": "c"}]}`,
	}
	e := answering(t, func(w http.ResponseWriter, r *http.Request) {
		var q logQuery
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		now := answers[len(asked)]
		if asked = append(asked, q); now == "429" {
			refuse(w, 429, `{"error": {"status": "RESOURCE_EXHAUSTED"}}`)
			return
		}
		_, _ = w.Write([]byte(now))
	})
	f := &followed{e: e, st: taskState{Project: "p", Region: "l", Run: "r", Token: "t"}, soon: true}
	for _, want := range []string{"a\n{\"b\":1}\n", "", "c\n"} {
		if got, err := f.Printed(t.Context()); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if q := asked[1]; q.PageToken != "x" || !strings.HasSuffix(asked[3].Filter, `execution_name"="r-t" AND timestamp>="2026-01-01T00:00:01.5Z"`) {
		t.Errorf("asked %+v", asked)
	}
	f.e.opts.LogPause, f.soon = time.Hour, false
	if got, err := f.Printed(t.Context()); err != nil || got != nil || len(asked) != 4 {
		t.Errorf("asked too early: %q, %v", got, err)
	}
}

// The result of a job decides, and what Cloud Run says explains what it lacks.
func TestStatusOfAnEnd(t *testing.T) {
	ended := runCondition{Type: "Completed", State: failed, Message: "Task a failed with message: The container exited with an error.", ExecutionReason: "NON_ZERO_EXIT_CODE"}
	said := func(message string) *runAttempt {
		a := &runAttempt{ExitCode: 137}
		a.Status.Message = message
		return a
	}
	done := &pod.Result{}
	failure := &pod.Result{End: pod.End{ExitCode: 3}}
	for _, c := range []struct {
		name    string
		end     runCondition
		attempt *runAttempt
		res     *pod.Result
		phase   state.Phase
		want    string
	}{
		{"success", runCondition{State: succeeded}, nil, done, state.Succeeded, ""},
		{"success that Cloud Run does not see", ended, said(""), done, state.Succeeded, ""},
		{"an exit code", ended, said(""), failure, state.Failed, "exit 3"},
		{"no result", ended, said(""), nil, state.Failed, "exit 137"},
		{"no result, and no exit code", runCondition{State: succeeded}, nil, nil, state.Failed, "its result is not in the bucket"},
		{"too little memory", ended, said("The container exceeded its memory limit of 512 MiB."), nil, state.Failed, "it used more memory than its container has: raise needs.memory (Google Cloud: The container exceeded its memory limit of 512 MiB)"},
		{"a timeout with time to end", ended, said("The configured timeout was reached."), failure, state.Failed, "it took longer than its timeout (Google Cloud: The configured timeout was reached)"},
		{"no capacity", runCondition{State: failed, Message: "There was no available instance."}, nil, nil, state.Failed, noCapacity + " (Google Cloud: There was no available instance)"},
		{"something unknown", runCondition{State: failed, Message: "Surprise."}, nil, nil, state.Failed, "Surprise."},
	} {
		if got := statusOf(runExecution{}, c.end, c.attempt, c.res); got.Phase != c.phase || got.Message != c.want || got.Lacking != (c.name == "no capacity") {
			t.Errorf("%s: got %+v, want %s %q", c.name, got, c.phase, c.want)
		}
	}
}
