# Written by `tenon compile --format=terraform`, which replaces this file.

data "azurerm_client_config" "current" {
}

resource "azurerm_key_vault" "secrets" {
  name                       = "tenonflightsproddc748e9a"
  resource_group_name        = local.group
  location                   = var.location
  tags                       = local.tags
  tenant_id                  = data.azurerm_client_config.current.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  soft_delete_retention_days = 7
}
