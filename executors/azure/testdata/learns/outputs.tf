# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the container of blobs."
  value       = "azblob://artifacts/tenon/notify/prod?storage_account=tenonnotifyprod0a612e6f"
}

output "identities" {
  description = "Client ids of identities by unit."
  value = {
    "deployments/api"    = azurerm_user_assigned_identity.deployments-api.client_id
    "models/large/train" = azurerm_user_assigned_identity.models-large-train.client_id
    "models/late/train"  = azurerm_user_assigned_identity.models-late-train.client_id
  }
}

output "repository" {
  description = "Where images are pushed."
  value       = "${azurerm_container_registry.images.login_server}/tenon-notify-prod/units"
}
