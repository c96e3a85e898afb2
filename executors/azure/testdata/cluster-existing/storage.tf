# Written by `tenon compile --format=terraform`, which replaces this file.

locals {
  container_id = "${data.azurerm_storage_account.artifacts.id}/blobServices/default/containers/ml"
}

data "azurerm_storage_account" "artifacts" {
  name                = "acmeml"
  resource_group_name = local.group
}
