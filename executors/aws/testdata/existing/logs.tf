# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_cloudwatch_log_group" "deployments-api" {
  name              = "/aws/lambda/acme-ml-deployments-api"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_cloudwatch_log_group" "steps-count" {
  name              = "/tenon/notify/_/steps-count"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "steps/count"
  }
}

resource "aws_cloudwatch_log_group" "steps-post" {
  name              = "/tenon/notify/_/steps-post"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "steps/post"
  }
}
