# Written by `tenon compile --format=terraform`, which replaces this file.

output "cluster" {
  description = "Name of the cluster."
  value       = azurerm_kubernetes_cluster.main.name
}

output "endpoint" {
  description = "Name of the host of its API."
  value       = azurerm_kubernetes_cluster.main.fqdn
}

output "issuer" {
  description = "URL of the issuer of the tokens of service accounts."
  value       = azurerm_kubernetes_cluster.main.oidc_issuer_url
}

output "artifacts" {
  description = "Folder of the system in the container of blobs."
  value       = "azblob://artifacts/tenon/flights/prod?storage_account=tenonflightsproddc748e9a"
}

output "repository" {
  description = "Where images are pushed."
  value       = "${azurerm_container_registry.images.login_server}/tenon-flights-prod"
}
