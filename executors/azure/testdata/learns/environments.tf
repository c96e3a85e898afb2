# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_log_analytics_workspace" "log" {
  name                = "tenon-notify-prod"
  resource_group_name = local.group
  location            = var.location
  tags                = local.tags
  sku                 = "PerGB2018"
  retention_in_days   = var.log_retention_days
}

resource "azurerm_container_app_environment" "open" {
  name                       = "tenon-notify-prod-open"
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
