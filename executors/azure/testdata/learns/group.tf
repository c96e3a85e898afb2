# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_resource_group" "system" {
  name     = "acme-ml"
  location = var.location
  tags     = local.tags
}

locals {
  group    = azurerm_resource_group.system.name
  group_id = azurerm_resource_group.system.id
}
