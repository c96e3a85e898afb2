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
  value       = "azblob://ml/tenon/notify/_?storage_account=acmeml"
}

output "repository" {
  description = "Where images are pushed."
  value       = "${data.azurerm_container_registry.images.login_server}/acme-ml"
}
