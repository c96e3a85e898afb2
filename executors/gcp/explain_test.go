package gcp

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// What Vertex AI says becomes what to change.
func TestWhatVertexAISays(t *testing.T) {
	for said, want := range map[string]string{
		"The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus":      "raise custom_model_training_..._gpus",
		"Resources are insufficient in region: europe-west3. Please try a different region or use a different accelerator.":    "the region has no such machine free now",
		"ZONE_RESOURCE_POOL_EXHAUSTED: The zone does not have enough resources available to fulfill the request.":              "the region has no such machine free now",
		"The replica workerpool0-0 exited because the image europe-west3-docker.pkg.dev/p/r/units@sha256:00 was not found.":    "its image is not in the repository",
		"Permission \"artifactregistry.repositories.downloadArtifacts\" denied on the image":                                   "grant it roles/artifactregistry.reader",
		"You do not have permission to act as service account: a@p.iam.gserviceaccount.com (iam.serviceAccounts.actAs)":        "the service account of the unit does not exist",
		"Machine type \"a2-highgpu-1g\" is not supported.":                                                                     "the region has no such machines",
		"The replica workerpool0-0 ran out-of-memory and exited with a non-zero status of 137(SIGKILL). It ran out of memory.": "raise needs.memory",
		"Workerpool0-0 was preempted.": "set retries to run it again",
	} {
		got := explainVertex("create the job", &refusal{code: 429, status: "RESOURCE_EXHAUSTED", message: said})
		if !strings.Contains(got.Error(), want) || !strings.Contains(got.Error(), "(Google Cloud: ") {
			t.Errorf("%s: got %v, want %q", said, got, want)
		}
	}
}

// A version that fails because the region has no capacity, or because of a quota, says so: a choice of targets continues on the next one.
func TestServicesWithoutCapacity(t *testing.T) {
	st := taskState{Project: "p", Region: "r", Name: "a", Unit: "deployments/api", Run: "api-1", Token: "x", Service: "api"}
	for message, lacks := range map[string]bool{
		"MIN_INSTANCES_NOT_PROVISIONED: There are too few.":          true,
		"Quota exceeded for total allowable CPU per project.":        true,
		"There was no available instance.":                           true,
		"HEALTH_CHECK_CONTAINER_ERROR: It did not listen in time.":   false,
		"SECRETS_ACCESS_CHECK_FAILED: Permission denied on a secret": false,
	} {
		for _, there := range []bool{true, false} { // its revision
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c := runCondition{Type: "Ready", State: failed, Message: message}
				var answer any = runService{Annotations: map[string]string{noteUnit: st.Unit}, Template: &runRevisionSpec{Revision: st.start()}, TerminalCondition: &c}
				if strings.HasSuffix(r.URL.Path, "/revisions/"+st.start()) {
					if !there {
						http.NotFound(w, r)
						return
					}
					answer = runRevision{Conditions: []runCondition{c}}
				}
				_ = json.NewEncoder(w).Encode(answer)
			}))
			e := New(Options{})
			e.client.run = server.URL
			got, err := (&followed{e: e, st: st}).lookService(t.Context())
			server.Close()
			if err != nil || got.Phase != state.Failed || got.Lacking != lacks {
				t.Errorf("%s: got %+v, %v", message, got, err)
			}
		}
	}
	var lacking *executors.LackingError
	if err := exhausted(&refusal{code: 429}); !errors.As(err, &lacking) {
		t.Errorf("a quota: %v", err)
	}
	if err := exhausted(&refusal{code: 403}); errors.As(err, &lacking) {
		t.Errorf("a right: %v", err)
	}
}
