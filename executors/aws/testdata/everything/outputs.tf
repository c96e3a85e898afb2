# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "s3://${local.bucket}/${local.root}"
}

output "roles" {
  description = "Roles by unit."
  value = {
    "deployments/api"    = aws_iam_role.deployments-api.arn
    "deployments/vision" = aws_iam_role.endpoint-deployments-vision.arn
    "features/late"      = aws_iam_role.features-late.arn
    "models/late/train"  = aws_iam_role.models-late-train.arn
    "sources/airports"   = aws_iam_role.sources-airports.arn
    "sources/flights"    = aws_iam_role.sources-flights.arn
    "sources/weather"    = aws_iam_role.sources-weather.arn
    "steps/Report.2"     = aws_iam_role.steps-Report_2-d4032937.arn
  }
}

output "repository" {
  description = "Where images are pushed."
  value       = local.repository_url
}

output "job_queues" {
  description = "Queues of AWS Batch by unit."
  value = {
    "features/late"    = aws_batch_job_queue.closed.arn
    "sources/airports" = aws_batch_job_queue.closed.arn
    "sources/flights"  = aws_batch_job_queue.open.arn
    "sources/weather"  = aws_batch_job_queue.closed.arn
    "steps/Report.2"   = aws_batch_job_queue.open.arn
  }
}

output "job_definitions" {
  description = "Job definitions by unit; null until its image is named."
  value = {
    "features/late"    = one(aws_batch_job_definition.features-late[*].arn)
    "sources/airports" = one(aws_batch_job_definition.sources-airports[*].arn)
    "sources/flights"  = one(aws_batch_job_definition.sources-flights[*].arn)
    "sources/weather"  = one(aws_batch_job_definition.sources-weather[*].arn)
    "steps/Report.2"   = one(aws_batch_job_definition.steps-Report_2-d4032937[*].arn)
  }
}

output "training_jobs" {
  description = "How the names of training jobs begin, by unit. The role of a unit only writes the logs of these."
  value = {
    "models/late/train" = "t92b61a24-"
  }
}

output "endpoints" {
  description = "Names of the endpoints of SageMaker, which tenon apply makes, by deployment."
  value = {
    "deployments/vision" = "tenon-flights-prod-deployments-vision"
  }
}
