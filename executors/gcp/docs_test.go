package gcp

import (
	"testing"

	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
)

// The page for users shows rights of a unit as they are written.
func TestTheDocumentationShowsRights(t *testing.T) {
	cloudtest.Page(t, "gcp.md", `resource "google_storage_bucket_iam_member"`, write(t, systems()["everything"])["rights.tf"])
}
