package azure

import (
	"testing"

	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
)

// The page for users shows rights of a unit as they are written.
func TestTheDocumentationShowsRights(t *testing.T) {
	cloudtest.Page(t, "azure.md", `resource "azurerm_role_assignment" "write-`, write(t, systems()["everything"])["rights.tf"])
}
