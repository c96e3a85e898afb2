# Written by `tenon compile --format=terraform`, which replaces this file.

data "azurerm_client_config" "current" {
}

resource "azurerm_role_assignment" "creator" {
  scope                = azurerm_kubernetes_cluster.main.id
  role_definition_name = "Azure Kubernetes Service RBAC Cluster Admin"
  principal_id         = data.azurerm_client_config.current.object_id
  # It stays whoever made the cluster.
  lifecycle {
    ignore_changes = [principal_id]
  }
}

resource "azurerm_role_assignment" "admin-00000000-aaaa-bbbb-cccc-444444444444" {
  scope                = azurerm_kubernetes_cluster.main.id
  role_definition_name = "Azure Kubernetes Service RBAC Cluster Admin"
  principal_id         = "00000000-aaaa-bbbb-cccc-444444444444"
}
