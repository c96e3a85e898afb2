# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the container of blobs."
  value       = "azblob://artifacts/tenon/flights/prod?storage_account=tenonflightsproddc748e9a"
}

output "identities" {
  description = "Client ids of identities by unit."
  value = {
    "deployments/api"   = azurerm_user_assigned_identity.deployments-api.client_id
    "features/late"     = azurerm_user_assigned_identity.features-late.client_id
    "models/late/train" = azurerm_user_assigned_identity.models-late-train.client_id
    "sources/airports"  = azurerm_user_assigned_identity.sources-airports.client_id
    "sources/flights"   = azurerm_user_assigned_identity.sources-flights.client_id
    "sources/weather"   = azurerm_user_assigned_identity.sources-weather.client_id
    "steps/Report.2"    = azurerm_user_assigned_identity.steps-Report_2-d4032937.client_id
  }
}

output "repository" {
  description = "Where images are pushed."
  value       = "${azurerm_container_registry.images.login_server}/tenon-flights-prod/units"
}
