# Written by `tenon compile --format=terraform`, which replaces this file.

data "azurerm_resource_group" "system" {
  name = "acme-ml"
}

locals {
  group    = data.azurerm_resource_group.system.name
  group_id = data.azurerm_resource_group.system.id
}
