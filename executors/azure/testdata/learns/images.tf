# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_container_registry" "images" {
  name                = "tenonnotifyprod0a612e6f"
  resource_group_name = local.group
  location            = var.location
  tags                = local.tags
  sku                 = "Basic"
  admin_enabled       = false
}
