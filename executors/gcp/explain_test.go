package gcp

import (
	"strings"
	"testing"
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
