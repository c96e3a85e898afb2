# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_log_analytics_workspace" "log" {
  name                = "tenon-notify-prod"
  resource_group_name = local.group
  location            = var.location
  tags                = local.tags
  sku                 = "PerGB2018"
  retention_in_days   = var.log_retention_days
}
