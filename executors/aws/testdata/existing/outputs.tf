# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "s3://${local.bucket}/${local.root}"
}

output "roles" {
  description = "Roles by unit."
  value = {
    "deployments/api" = aws_iam_role.deployments-api.arn
    "steps/count"     = aws_iam_role.steps-count.arn
    "steps/post"      = aws_iam_role.steps-post.arn
  }
}

output "repository" {
  description = "Where images are pushed."
  value       = local.repository_url
}

output "job_queues" {
  description = "Queues of AWS Batch by unit."
  value = {
    "steps/count" = aws_batch_job_queue.closed.arn
    "steps/post"  = aws_batch_job_queue.open.arn
  }
}

output "job_definitions" {
  description = "Job definitions by unit; null until its image is named."
  value = {
    "steps/count" = one(aws_batch_job_definition.steps-count[*].arn)
    "steps/post"  = one(aws_batch_job_definition.steps-post[*].arn)
  }
}
