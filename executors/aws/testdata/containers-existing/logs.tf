# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_cloudwatch_log_group" "task-deployments-api" {
  name              = "/tenon/shop/_/deployments-api"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "deployments/api"
  }
}
