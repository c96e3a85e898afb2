# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_cloudwatch_log_group" "deployments-api" {
  name              = "/aws/lambda/tenon-flights-prod-deployments-api"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_cloudwatch_log_group" "endpoint-deployments-vision" {
  name              = "/aws/sagemaker/Endpoints/tenon-flights-prod-deployments-vision"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "deployments/vision"
  }
}

resource "aws_cloudwatch_log_group" "features-late" {
  name              = "/tenon/flights/prod/features-late"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "features/late"
  }
}

resource "aws_cloudwatch_log_group" "sources-airports" {
  name              = "/tenon/flights/prod/sources-airports"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "sources/airports"
  }
}

resource "aws_cloudwatch_log_group" "sources-flights" {
  name              = "/tenon/flights/prod/sources-flights"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "sources/flights"
  }
}

resource "aws_cloudwatch_log_group" "sources-weather" {
  name              = "/tenon/flights/prod/sources-weather"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "sources/weather"
  }
}

resource "aws_cloudwatch_log_group" "steps-Report_2-d4032937" {
  name              = "/tenon/flights/prod/steps-Report_2-d4032937"
  retention_in_days = var.log_retention_days
  tags = {
    "tenon:unit" = "steps/Report.2"
  }
}
