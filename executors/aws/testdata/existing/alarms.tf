# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_cloudwatch_metric_alarm" "slos-api-availability-1h" {
  alarm_name          = "acme-ml-slos-api-availability-1h"
  alarm_description   = "2% of the error budget of deployments/api for 30d is used up in 1h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
  ok_actions          = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
  tags = {
    "tenon:unit" = "slos/api"
  }
  threshold          = 0.144
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "UrlRequestCount"
      period      = 3600
      stat        = "Sum"
      dimensions = {
        FunctionName = "acme-ml-deployments-api"
      }
    }
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Url5xxCount"
      period      = 3600
      stat        = "Sum"
      dimensions = {
        FunctionName = "acme-ml-deployments-api"
      }
    }
  }
  metric_query {
    id          = "ratio"
    label       = "share of requests that fail"
    expression  = "IF(requests > 0, FILL(errors, 0) / requests, 0)"
    return_data = true
  }
}

resource "aws_cloudwatch_metric_alarm" "slos-api-availability-6h" {
  alarm_name          = "acme-ml-slos-api-availability-6h"
  alarm_description   = "5% of the error budget of deployments/api for 30d is used up in 6h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
  ok_actions          = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
  tags = {
    "tenon:unit" = "slos/api"
  }
  threshold          = 0.06
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "UrlRequestCount"
      period      = 21600
      stat        = "Sum"
      dimensions = {
        FunctionName = "acme-ml-deployments-api"
      }
    }
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Url5xxCount"
      period      = 21600
      stat        = "Sum"
      dimensions = {
        FunctionName = "acme-ml-deployments-api"
      }
    }
  }
  metric_query {
    id          = "ratio"
    label       = "share of requests that fail"
    expression  = "IF(requests > 0, FILL(errors, 0) / requests, 0)"
    return_data = true
  }
}

resource "aws_cloudwatch_metric_alarm" "slos-api-availability-24h" {
  alarm_name          = "acme-ml-slos-api-availability-24h"
  alarm_description   = "10% of the error budget of deployments/api for 30d is used up in 24h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
  ok_actions          = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
  tags = {
    "tenon:unit" = "slos/api"
  }
  threshold          = 0.03
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "UrlRequestCount"
      period      = 86400
      stat        = "Sum"
      dimensions = {
        FunctionName = "acme-ml-deployments-api"
      }
    }
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Url5xxCount"
      period      = 86400
      stat        = "Sum"
      dimensions = {
        FunctionName = "acme-ml-deployments-api"
      }
    }
  }
  metric_query {
    id          = "ratio"
    label       = "share of requests that fail"
    expression  = "IF(requests > 0, FILL(errors, 0) / requests, 0)"
    return_data = true
  }
}
