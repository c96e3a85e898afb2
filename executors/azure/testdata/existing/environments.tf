# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_log_analytics_workspace" "log" {
  name                = "acme-ml-33c584fc"
  resource_group_name = local.group
  location            = var.location
  tags                = local.tags
  sku                 = "PerGB2018"
  retention_in_days   = var.log_retention_days
}

resource "azurerm_container_app_environment" "closed" {
  name                           = "acme-ml-33c584fc-closed"
  resource_group_name            = local.group
  location                       = var.location
  tags                           = local.tags
  logs_destination               = "log-analytics"
  log_analytics_workspace_id     = azurerm_log_analytics_workspace.log.id
  infrastructure_subnet_id       = "/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/acme-ml/providers/Microsoft.Network/virtualNetworks/ml/subnets/closed"
  internal_load_balancer_enabled = true
  workload_profile {
    name                  = "Consumption"
    workload_profile_type = "Consumption"
  }
}

resource "azurerm_container_app_environment" "open" {
  name                       = "acme-ml-33c584fc-open"
  resource_group_name        = local.group
  location                   = var.location
  tags                       = local.tags
  logs_destination           = "log-analytics"
  log_analytics_workspace_id = azurerm_log_analytics_workspace.log.id
  workload_profile {
    name                  = "Consumption"
    workload_profile_type = "Consumption"
  }
}
