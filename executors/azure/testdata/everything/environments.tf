# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_log_analytics_workspace" "log" {
  name                = "tenon-flights-prod"
  resource_group_name = local.group
  location            = var.location
  tags                = local.tags
  sku                 = "PerGB2018"
  retention_in_days   = var.log_retention_days
}

resource "azurerm_container_app_environment" "closed" {
  name                           = "tenon-flights-prod-closed"
  resource_group_name            = local.group
  location                       = var.location
  tags                           = local.tags
  logs_destination               = "log-analytics"
  log_analytics_workspace_id     = azurerm_log_analytics_workspace.log.id
  infrastructure_subnet_id       = azurerm_subnet_network_security_group_association.closed.subnet_id
  internal_load_balancer_enabled = true
  workload_profile {
    name                  = "Consumption"
    workload_profile_type = "Consumption"
  }
  workload_profile {
    name                  = "gpu-t4"
    workload_profile_type = "Consumption-GPU-NC8as-T4"
  }
}

resource "azurerm_container_app_environment" "open" {
  name                       = "tenon-flights-prod-open"
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
