# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "s3://${local.bucket}/${local.root}"
}

output "roles" {
  description = "Roles by unit."
  value = {
    "deployments/api"     = aws_iam_role.deployments-api.arn
    "models/late/train"   = aws_iam_role.models-late-train.arn
    "models/vision/train" = aws_iam_role.models-vision-train.arn
    controller            = aws_iam_role.controller.arn
  }
}

output "repository" {
  description = "Where images are pushed."
  value       = local.repository_url
}

output "job_queues" {
  description = "Queues of AWS Batch by unit."
  value = {
    "models/late/train" = aws_batch_job_queue.closed.arn
  }
}

output "job_definitions" {
  description = "Job definitions by unit; null until its image is named."
  value = {
    "models/late/train" = one(aws_batch_job_definition.models-late-train[*].arn)
  }
}

output "training_jobs" {
  description = "How the names of training jobs begin, by unit. The role of a unit only writes the logs of these."
  value = {
    "models/vision/train" = "t66491062-"
  }
}
