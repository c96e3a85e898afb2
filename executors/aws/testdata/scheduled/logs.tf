# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_cloudwatch_log_group" "deployments-api" {
  name              = "/aws/lambda/tenon-nightly-deployments-api"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_cloudwatch_log_group" "models-late-train" {
  name              = "/tenon/nightly/_/models-late-train"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "models/late/train"
  }
}

resource "aws_cloudwatch_log_group" "controller" {
  name              = "/tenon/nightly/_/controller"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "controller"
  }
}
