# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the container of blobs."
  value       = "azblob://ml/tenon/notify/_?storage_account=acmeml"
}

output "identities" {
  description = "Client ids of identities by unit."
  value = {
    "deployments/api" = azurerm_user_assigned_identity.deployments-api.client_id
    "steps/count"     = azurerm_user_assigned_identity.steps-count.client_id
    "steps/post"      = azurerm_user_assigned_identity.steps-post.client_id
  }
}

output "repository" {
  description = "Where images are pushed."
  value       = "${data.azurerm_container_registry.images.login_server}/acme-ml-33c584fc/units"
}
