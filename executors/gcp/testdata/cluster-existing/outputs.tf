# Written by `tenon compile --format=terraform`, which replaces this file.

output "cluster" {
  description = "Name of the cluster."
  value       = google_container_cluster.main.name
}

output "endpoint" {
  description = "Address of its API."
  value       = google_container_cluster.main.endpoint
}

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "gs://${local.bucket}/${local.root}"
}
