package azure

import (
	"strings"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// Longest names in Azure Machine Learning.
const (
	mostWorkspace = 32
	mostCluster   = 24
	mostEndpoint  = 32
)

// workspace returns the name of the workspace of Azure Machine Learning.
func (w *writer) workspace() string { return plain(w.prefix, mostWorkspace) }

// nodes returns the name of the cluster of a unit. It is unique in the location, and a letter follows its last hyphen, as
// "Create an Azure Machine Learning compute cluster" asks.
func (w *writer) nodes(unit string) string {
	const suffix = "-u00000000"
	label := plain(cloud.Label(unit), mostIdentity)
	return strings.TrimRight(label[:min(len(label), mostCluster-len(suffix))], "-") + "-u" + cloud.Short(w.groupID()+"/"+w.prefix+"/"+unit)
}

// endpoint returns the name of the endpoint of a unit, which is unique among all customers of Azure in a location.
func (w *writer) endpoint(unit string) string {
	return plain(w.prefix+"-"+cloud.Label(unit), mostEndpoint-9) + "-" + cloud.Short(w.groupID()+"/"+w.prefix+"/"+unit)
}

// learns reports whether units run on Azure Machine Learning.
func (w *writer) learns() bool { return len(w.at(onML))+len(w.at(onEndpoint)) > 0 }

// learning writes a workspace of Azure Machine Learning, with what it cannot exist without, and a cluster for each job
// that runs there. A program gets tokens of every identity of its cluster, so that units share none. A cluster has no
// nodes, and costs nothing, while nothing runs.
func (w *writer) learning() {
	if !w.learns() {
		return
	}
	f := w.file("ml.tf")
	b := f.Resource("azurerm_storage_account", "ml")
	b.Comment("The workspace keeps its own files here, and uses keys, so that it is not the account of artifacts.")
	b.Set("name", terraform.Text(w.globalOf("/ml")))
	placed(b, nil)
	b.Set("account_kind", terraform.Text("StorageV2"))
	b.Set("account_tier", terraform.Text("Standard"))
	b.Set("account_replication_type", terraform.Text("LRS"))
	b.Set("min_tls_version", terraform.Text("TLS1_2"))
	b.Set("local_user_enabled", terraform.Bool(false))
	b.Set("allow_nested_items_to_be_public", terraform.Bool(false))
	b.Set("cross_tenant_replication_enabled", terraform.Bool(false))
	f.Block("data", "azurerm_client_config", "ml")
	b = f.Resource("azurerm_key_vault", "ml")
	b.Set("name", terraform.Text(w.globalOf("/ml")))
	placed(b, nil)
	b.Set("tenant_id", terraform.Code("data.azurerm_client_config.ml.tenant_id"))
	b.Set("sku_name", terraform.Text("standard"))
	b.Set("rbac_authorization_enabled", terraform.Bool(true))
	b.Set("soft_delete_retention_days", terraform.Int(7))
	b = f.Resource("azurerm_application_insights", "ml")
	b.Set("name", terraform.Text(w.workspace()))
	placed(b, nil)
	b.Set("application_type", terraform.Text("web"))
	b.Set("workspace_id", cloud.Reference("azurerm_log_analytics_workspace", "log", "id"))
	b = f.Resource("azurerm_machine_learning_workspace", "ml")
	b.Set("name", terraform.Text(w.workspace()))
	placed(b, nil)
	b.Set("storage_account_id", cloud.Reference("azurerm_storage_account", "ml", "id"))
	b.Set("key_vault_id", cloud.Reference("azurerm_key_vault", "ml", "id"))
	b.Set("application_insights_id", cloud.Reference("azurerm_application_insights", "ml", "id"))
	b.Set("container_registry_id", w.registryOf("id"))
	b.Set("public_network_access_enabled", terraform.Bool(true))
	b.Block("identity").Set("type", terraform.Text("SystemAssigned"))
	priority := "Dedicated"
	if w.Jobs.Spot {
		priority = "LowPriority"
	}
	for _, u := range w.at(onML) {
		m, _ := machineFor(u.Needs)
		b := f.Resource("azurerm_machine_learning_compute_cluster", cloud.Label(u.ID))
		b.Set("name", terraform.Text(w.nodes(u.ID)))
		b.Set("location", terraform.Code("var.location"))
		tagged(b, u)
		b.Set("machine_learning_workspace_id", cloud.Reference("azurerm_machine_learning_workspace", "ml", "id"))
		b.Set("vm_priority", terraform.Text(priority))
		b.Set("vm_size", terraform.Text(m.size))
		b.Set("local_auth_enabled", terraform.Bool(false))
		b.Set("ssh_public_access_enabled", terraform.Bool(false))
		s := b.Block("scale_settings")
		s.Set("min_node_count", terraform.Int(0))
		s.Set("max_node_count", terraform.Int(1))
		s.Set("scale_down_nodes_after_idle_duration", terraform.Text("PT2M"))
		id := b.Block("identity")
		id.Set("type", terraform.Text("UserAssigned"))
		id.Set("identity_ids", terraform.List(cloud.Reference("azurerm_user_assigned_identity", cloud.Label(u.ID), "id")))
	}
}
