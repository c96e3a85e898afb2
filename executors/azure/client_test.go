package azure

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// A token of Microsoft Entra becomes one of the registry.
func TestTokensOfRegistries(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		answer string
		want   string // the token, or a part of the error
	}{
		{"a token", 200, `{"refresh_token": "refresh"}`, "refresh"},
		{"a refusal", 401, `{"errors": [{"code": "UNAUTHORIZED"}]}`, "Unauthorized: "},
		{"no token", 200, `{}`, "answers no token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.Path != "/oauth2/exchange" || r.FormValue("grant_type") != "access_token" || r.FormValue("service") != r.Host || r.FormValue("access_token") != "entra" {
					t.Errorf("%s %s: %v", r.Method, r.URL, r.Form)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.answer))
			}))
			defer server.Close()
			got, err := exchange(t.Context(), server.Client(), server.URL, "entra")
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if IsRegistry("azurecr.io.example.com") || !IsRegistry("acme.azurecr.io") {
		t.Error("hosts are confused")
	}
}

// Errors of Azure say what to do.
func TestHints(t *testing.T) {
	for _, c := range []struct {
		status     int
		text, want string
	}{
		{404, `{"error": {"code": "ResourceGroupNotFound", "message": "Resource group 'x' could not be found."}}`, "apply the infrastructure"},
		{409, `{"error": {"code": "MissingSubscriptionRegistration", "message": "not registered"}}`, "apply the infrastructure"},
		{403, `{"error": {"code": "AuthorizationFailed", "message": "The client does not have authorization"}}`, "grant the right"},
		{403, "<html>no</html>", "grant the right"},
		{401, `{"error": {"code": "ExpiredAuthenticationToken", "message": "expired"}}`, "log in again: az login"},
		{404, `{"error": {"code": "SubscriptionNotFound", "message": "x"}}`, "check the subscription"},
		{400, `{"error": {"code": "LocationNotAvailableForResourceType", "message": "x"}}`, "check the location"},
		{400, `{"error": {"code": "MaxNumberOfRegionalEnvironmentsInSubExceeded", "message": "x"}}`, "a quota of the subscription"},
		{409, `{"error": {"code": "ClusterCapacityHeavyUsage", "message": "x"}}`, noCapacity},
		{429, `{"error": {"code": "TooManyRequests", "message": "x"}}`, "too many requests"},
		{400, `{"error": {"code": "Other", "message": "two\nlines"}}`, "Other: two lines"},
	} {
		err := explainCall("do it", refused(c.status, []byte(c.text)))
		if got := err.Error(); !strings.HasPrefix(got, "do it on Azure: ") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.text, got, c.want)
		}
		var lacks *executors.LackingError
		if got, want := errors.As(err, &lacks), c.want == noCapacity || strings.HasPrefix(c.want, "a quota"); got != want {
			t.Errorf("%s: lacking is %v, want %v", c.text, got, want)
		}
	}
}

// A conflict passes if Azure is still making a change, and is an error otherwise.
func TestConflicts(t *testing.T) {
	for text, want := range map[string]bool{
		`{"error": {"code": "ContainerAppOperationInProgress", "message": "Cannot modify a container app"}}`:                                 true,
		`{"error": {"code": "ContainerAppLockConflict", "message": "Cannot modify container App 'a'"}}`:                                      true,
		`{"error": {"code": "Conflict", "message": "Cannot modify Container Apps environment e because another operation is in progress."}}`: true,
		``: true,
		`{"error": {"code": "MissingSubscriptionRegistration", "message": "not registered"}}`:                     false,
		`{"error": {"code": "ResourceGroupBeingDeleted", "message": "The resource group 'x' is being deleted."}}`: false,
		`{"error": {"code": "Conflict", "message": "The name is taken."}}`:                                        false,
	} {
		if got := passes(refused(http.StatusConflict, []byte(text))); got != want {
			t.Errorf("%s passes: %v", text, got)
		}
	}
	if passes(refused(http.StatusBadRequest, []byte(`{"error": {"code": "X", "message": "in progress"}}`))) || passes(nil) {
		t.Error("what is not a conflict passes")
	}
}

// The result of a job decides, and what Azure says explains what is missing.
func TestStatusOfAnEnd(t *testing.T) {
	for _, c := range []struct {
		name, status, why string
		res               *pod.Result
		phase             state.Phase
		want              string
	}{
		{"success", "Succeeded", "", &pod.Result{}, state.Succeeded, ""},
		{"success that Azure does not see", "Failed", "", &pod.Result{}, state.Succeeded, ""},
		{"an exit code", "Failed", "", &pod.Result{End: pod.End{ExitCode: 3}}, state.Failed, "exit 3"},
		{"an explanation", "Failed", explain([]string{"Error: OOMKilled"}), nil, state.Failed, "it used more memory than its container has: raise needs.memory (Azure: Error: OOMKilled)"},
		{"no capacity", "Failed", explain([]string{"FailedScheduling: 0/3 nodes are available: 3 Insufficient cpu."}), nil, state.Failed, noCapacity},
		{"a quota", "Failed", explain([]string{"Error: Quota exceeded"}), nil, state.Failed, quota},
		{"a right", "Failed", explain([]string{"Error: insufficient privileges"}), nil, state.Failed, "Error: insufficient privileges"},
		{"a stop", "Stopped", "", nil, state.Failed, "it was stopped on Azure"},
		{"no result", "Succeeded", "", nil, state.Failed, "its result is not in the container of blobs"},
		{"nothing", "Failed", "", nil, state.Failed, "it failed before it stored a result"},
	} {
		var x appExecution
		x.Properties.Status, x.Properties.Started = c.status, time.Now()
		if got := statusOf(x, c.why, c.res); got.Phase != c.phase || !strings.HasPrefix(got.Message, c.want) || c.want == "" && got.Message != "" {
			t.Errorf("%s: got %+v, want %s %q", c.name, got, c.phase, c.want)
		} else if want := c.want == noCapacity || c.want == quota; got.Lacking != want {
			t.Errorf("%s: lacking is %v, want %v", c.name, got.Lacking, want)
		}
	}
}
