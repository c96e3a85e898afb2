# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "s3://${local.bucket}/${local.root}"
}

output "roles" {
  description = "Roles by unit."
  value       = {}
}
