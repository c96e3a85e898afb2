# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_user_assigned_identity" "cluster" {
  name                = "tenon-flights-prod-cluster"
  resource_group_name = local.group
  location            = var.location
  tags                = local.tags
}

resource "azurerm_kubernetes_cluster" "main" {
  name                      = "tenon-flights-prod"
  resource_group_name       = local.group
  location                  = var.location
  tags                      = local.tags
  dns_prefix                = "tenon-flights-prod"
  kubernetes_version        = "1.34"
  automatic_upgrade_channel = "patch"
  node_os_upgrade_channel   = "NodeImage"
  # With an agreement on the availability of its API.
  sku_tier = "Standard"
  # Units get their rights from the tokens of their service accounts.
  oidc_issuer_enabled       = true
  workload_identity_enabled = true
  # Without accounts of its own, only Microsoft Entra says who may use it.
  local_account_disabled = true
  run_command_enabled    = false
  azure_active_directory_role_based_access_control {
    azure_rbac_enabled = true
  }
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.cluster.id]
  }
  api_server_access_profile {
    authorized_ip_ranges = ["192.0.2.0/24"]
  }
  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    # It enforces network policies.
    network_data_plane = "cilium"
    network_policy     = "cilium"
  }
  default_node_pool {
    name                 = "system"
    vm_size              = "Standard_D2s_v5"
    auto_scaling_enabled = true
    min_count            = 1
    max_count            = 3
    # Pods of units are in other pools.
    only_critical_addons_enabled = true
    temporary_name_for_rotation  = "rotating"
    tags                         = local.tags
    upgrade_settings {
      max_surge = "10%"
    }
  }
}

resource "azurerm_role_assignment" "pull" {
  # Nodes pull images.
  scope                = azurerm_container_registry.images.id
  role_definition_name = "AcrPull"
  principal_id         = azurerm_kubernetes_cluster.main.kubelet_identity[0].object_id
  principal_type       = "ServicePrincipal"
}
