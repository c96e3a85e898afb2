# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_storage_account" "ml" {
  # The workspace keeps its own files here, and uses keys, so that it is not the account of artifacts.
  name                             = "tenonnotifyproda412c909"
  resource_group_name              = local.group
  location                         = var.location
  tags                             = local.tags
  account_kind                     = "StorageV2"
  account_tier                     = "Standard"
  account_replication_type         = "LRS"
  min_tls_version                  = "TLS1_2"
  local_user_enabled               = false
  allow_nested_items_to_be_public  = false
  cross_tenant_replication_enabled = false
}

data "azurerm_client_config" "ml" {
}

resource "azurerm_key_vault" "ml" {
  name                       = "tenonnotifyproda412c909"
  resource_group_name        = local.group
  location                   = var.location
  tags                       = local.tags
  tenant_id                  = data.azurerm_client_config.ml.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  soft_delete_retention_days = 7
}

resource "azurerm_application_insights" "ml" {
  name                = "tenon-notify-prod"
  resource_group_name = local.group
  location            = var.location
  tags                = local.tags
  application_type    = "web"
  workspace_id        = azurerm_log_analytics_workspace.log.id
}

resource "azurerm_machine_learning_workspace" "ml" {
  name                          = "tenon-notify-prod"
  resource_group_name           = local.group
  location                      = var.location
  tags                          = local.tags
  storage_account_id            = azurerm_storage_account.ml.id
  key_vault_id                  = azurerm_key_vault.ml.id
  application_insights_id       = azurerm_application_insights.ml.id
  container_registry_id         = azurerm_container_registry.images.id
  public_network_access_enabled = true
  identity {
    type = "SystemAssigned"
  }
}

resource "azurerm_machine_learning_compute_cluster" "models-large-train" {
  name     = "models-large-t-u9be614e5"
  location = var.location
  tags = merge(local.tags, {
    tenon-unit = "models/large/train"
  })
  machine_learning_workspace_id = azurerm_machine_learning_workspace.ml.id
  vm_priority                   = "LowPriority"
  vm_size                       = "Standard_ND96isr_H100_v5"
  local_auth_enabled            = false
  ssh_public_access_enabled     = false
  scale_settings {
    min_node_count                       = 0
    max_node_count                       = 1
    scale_down_nodes_after_idle_duration = "PT2M"
  }
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.models-large-train.id]
  }
}

resource "azurerm_machine_learning_compute_cluster" "models-late-train" {
  name     = "models-late-tr-u90f8d3a8"
  location = var.location
  tags = merge(local.tags, {
    tenon-unit = "models/late/train"
  })
  machine_learning_workspace_id = azurerm_machine_learning_workspace.ml.id
  vm_priority                   = "LowPriority"
  vm_size                       = "Standard_NC64as_T4_v3"
  local_auth_enabled            = false
  ssh_public_access_enabled     = false
  scale_settings {
    min_node_count                       = 0
    max_node_count                       = 1
    scale_down_nodes_after_idle_duration = "PT2M"
  }
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.models-late-train.id]
  }
}
