# Written by `tenon compile --format=terraform`, which replaces this file.

output "cluster" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.main.name
}

output "endpoint" {
  description = "URL of its API."
  value       = aws_eks_cluster.main.endpoint
}

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "s3://${local.bucket}/${local.root}"
}

output "repository" {
  description = "Where images are pushed."
  value       = local.repository_url
}
