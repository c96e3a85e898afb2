# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "gs://${local.bucket}/${local.root}"
}

output "accounts" {
  description = "Service accounts by unit."
  value       = {}
}
