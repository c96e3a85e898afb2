package azure

import (
	"strings"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// storage writes the account of storage with a container of blobs for artifacts. The account has no keys that several
// share, nothing in it can be made public, and it keeps earlier versions of blobs. Azure encrypts everything.
func (w *writer) storage() {
	f := w.file("storage.tf")
	l := f.Block("locals")
	if s := w.Existing.Storage; s != nil {
		b := f.Block("data", "azurerm_storage_account", "artifacts")
		b.Set("name", terraform.Text(s.Account))
		b.Set("resource_group_name", terraform.Code("local.group"))
		l.Set("container_id", terraform.Join(cloud.Reference("data.azurerm_storage_account", "artifacts", "id"), "/blobServices/default/containers/"+s.Container))
		return
	}
	b := f.Resource("azurerm_storage_account", "artifacts")
	b.Set("name", terraform.Text(w.account()))
	placed(b, nil)
	b.Set("account_kind", terraform.Text("StorageV2"))
	b.Set("account_tier", terraform.Text("Standard"))
	b.Set("account_replication_type", terraform.Text("LRS"))
	b.Set("min_tls_version", terraform.Text("TLS1_2"))
	b.Set("shared_access_key_enabled", terraform.Bool(false))
	b.Set("default_to_oauth_authentication", terraform.Bool(true))
	b.Set("local_user_enabled", terraform.Bool(false))
	b.Set("allow_nested_items_to_be_public", terraform.Bool(false))
	b.Set("cross_tenant_replication_enabled", terraform.Bool(false))
	p := b.Block("blob_properties")
	p.Set("versioning_enabled", terraform.Bool(true))
	p.Block("delete_retention_policy").Set("days", terraform.Int(7))
	p.Block("container_delete_retention_policy").Set("days", terraform.Int(7))
	b = f.Resource("azurerm_storage_container", "artifacts")
	b.Set("name", terraform.Text(w.container()))
	b.Set("storage_account_id", cloud.Reference("azurerm_storage_account", "artifacts", "id"))
	b.Set("container_access_type", terraform.Text("private"))
	l.Set("container_id", terraform.Join(cloud.Reference("azurerm_storage_account", "artifacts", "id"), "/blobServices/default/containers/", cloud.Reference("azurerm_storage_container", "artifacts", "name")))
}

// images writes the registry for the images of units. All units of a system share it, because
// their images share layers; images have code, and neither data nor secrets.
func (w *writer) images() {
	if len(w.units) == 0 && w.Service == "" {
		return
	}
	f := w.file("images.tf")
	const kind = "azurerm_container_registry"
	if w.Existing.Registry != "" {
		b := f.Block("data", kind, "images")
		b.Set("name", terraform.Text(w.registry()))
		b.Set("resource_group_name", terraform.Code("local.group"))
		return
	}
	b := f.Resource(kind, "images")
	b.Set("name", terraform.Text(w.registry()))
	placed(b, nil)
	b.Set("sku", terraform.Text(w.Tier))
	b.Set("admin_enabled", terraform.Bool(false))
}

// registryOf returns an attribute of the registry.
func (w *writer) registryOf(attribute string) terraform.Expr {
	kind := "azurerm_container_registry"
	if w.Existing.Registry != "" {
		kind = "data." + kind
	}
	return cloud.Reference(kind, "images", attribute)
}

// vault writes the vault for secrets that do not exist. Their values are set by other means, so that they are in no
// file and no state.
func (w *writer) vault() {
	if len(w.made()) == 0 {
		return
	}
	f := w.file("secrets.tf")
	f.Block("data", "azurerm_client_config", "current")
	b := f.Resource("azurerm_key_vault", "secrets")
	b.Set("name", terraform.Text(w.global()))
	placed(b, nil)
	b.Set("tenant_id", terraform.Code("data.azurerm_client_config.current.tenant_id"))
	b.Set("sku_name", terraform.Text("standard"))
	b.Set("rbac_authorization_enabled", terraform.Bool(true))
	b.Set("soft_delete_retention_days", terraform.Int(7))
}

// made returns the variables of secrets that do not exist, sorted.
func (w *writer) made() []string {
	return cloud.Secrets(w.units, cloud.AccessInContainer, func(variable string) bool { return w.Existing.Secrets[variable] == "" })
}

// secretName returns the name of a secret in the vault that is made. Names ignore case and have no underscores.
func secretName(variable string) string {
	name := strings.Trim(strings.ReplaceAll(variable, "_", "-"), "-")
	return cloud.Fit(name+"-"+cloud.Short(variable), 127)
}

// secretID returns the resource id of a secret.
func (w *writer) secretID(variable string) terraform.Expr {
	if id := w.Existing.Secrets[variable]; id != "" {
		return terraform.Text(id)
	}
	return terraform.Join(cloud.Reference("azurerm_key_vault", "secrets", "id"), "/secrets/"+secretName(variable))
}
