# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "gs://${local.bucket}/${local.root}"
}

output "accounts" {
  description = "Service accounts by unit."
  value = {
    "deployments/api" = google_service_account.deployments-api.email
  }
}

output "repository" {
  description = "Where images are pushed."
  value       = "${var.region}-docker.pkg.dev/${var.project}/tenon-hosts/units"
}
