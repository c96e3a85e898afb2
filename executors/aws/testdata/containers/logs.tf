# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_cloudwatch_log_group" "task-deployments-api" {
  name              = "/tenon/shop/_/deployments-api"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_cloudwatch_log_group" "task-deployments-vision" {
  name              = "/tenon/shop/_/deployments-vision"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "deployments/vision"
  }
}
