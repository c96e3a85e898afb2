# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "s3://${local.bucket}/${local.root}"
}

output "roles" {
  description = "Roles by unit."
  value = {
    "deployments/api"    = aws_iam_role.task-deployments-api.arn
    "deployments/vision" = aws_iam_role.task-deployments-vision.arn
  }
}

output "repository" {
  description = "Where images are pushed."
  value       = local.repository_url
}

output "balancer" {
  description = "Address of the load balancer: hosts of deployments are aliases of it."
  value       = aws_lb.main.dns_name
}
