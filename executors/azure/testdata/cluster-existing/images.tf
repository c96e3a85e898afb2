# Written by `tenon compile --format=terraform`, which replaces this file.

data "azurerm_container_registry" "images" {
  name                = "acmeImages"
  resource_group_name = local.group
}
