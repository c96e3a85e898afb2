# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_cloudwatch_metric_alarm" "slos-api-availability-1h" {
  alarm_name          = "tenon-flights-prod-slos-api-availability-1h"
  alarm_description   = "2% of the error budget of deployments/api for 30d is used up in 1h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/api"
  }
  threshold          = 0.0144
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "UrlRequestCount"
      period      = 3600
      stat        = "Sum"
      dimensions = {
        FunctionName = "tenon-flights-prod-deployments-api"
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
        FunctionName = "tenon-flights-prod-deployments-api"
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
  alarm_name          = "tenon-flights-prod-slos-api-availability-6h"
  alarm_description   = "5% of the error budget of deployments/api for 30d is used up in 6h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/api"
  }
  threshold          = 0.006
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "UrlRequestCount"
      period      = 21600
      stat        = "Sum"
      dimensions = {
        FunctionName = "tenon-flights-prod-deployments-api"
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
        FunctionName = "tenon-flights-prod-deployments-api"
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
  alarm_name          = "tenon-flights-prod-slos-api-availability-24h"
  alarm_description   = "10% of the error budget of deployments/api for 30d is used up in 24h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/api"
  }
  threshold          = 0.003
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "UrlRequestCount"
      period      = 86400
      stat        = "Sum"
      dimensions = {
        FunctionName = "tenon-flights-prod-deployments-api"
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
        FunctionName = "tenon-flights-prod-deployments-api"
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

resource "aws_cloudwatch_metric_alarm" "slos-api-latency-p99" {
  alarm_name          = "tenon-flights-prod-slos-api-latency-p99"
  alarm_description   = "p99 of the time that deployments/api takes is above 50ms for 15 minutes"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/api"
  }
  namespace   = "AWS/Lambda"
  metric_name = "UrlRequestLatency"
  dimensions = {
    FunctionName = "tenon-flights-prod-deployments-api"
  }
  extended_statistic = "p99"
  period             = 300
  evaluation_periods = 3
  threshold          = 50
}

resource "aws_cloudwatch_metric_alarm" "slos-vision-availability-1h" {
  alarm_name          = "tenon-flights-prod-slos-vision-availability-1h"
  alarm_description   = "2% of the error budget of deployments/vision for 7d is used up in 1h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/vision"
  }
  threshold          = 0.336
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocations"
      period      = 3600
      stat        = "Sum"
      dimensions = {
        EndpointName = "tenon-flights-prod-deployments-vision"
        VariantName  = "main"
      }
    }
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocation5XXErrors"
      period      = 3600
      stat        = "Sum"
      dimensions = {
        EndpointName = "tenon-flights-prod-deployments-vision"
        VariantName  = "main"
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

resource "aws_cloudwatch_metric_alarm" "slos-vision-availability-6h" {
  alarm_name          = "tenon-flights-prod-slos-vision-availability-6h"
  alarm_description   = "5% of the error budget of deployments/vision for 7d is used up in 6h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/vision"
  }
  threshold          = 0.14
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocations"
      period      = 21600
      stat        = "Sum"
      dimensions = {
        EndpointName = "tenon-flights-prod-deployments-vision"
        VariantName  = "main"
      }
    }
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocation5XXErrors"
      period      = 21600
      stat        = "Sum"
      dimensions = {
        EndpointName = "tenon-flights-prod-deployments-vision"
        VariantName  = "main"
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

resource "aws_cloudwatch_metric_alarm" "slos-vision-availability-24h" {
  alarm_name          = "tenon-flights-prod-slos-vision-availability-24h"
  alarm_description   = "10% of the error budget of deployments/vision for 7d is used up in 24h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/vision"
  }
  threshold          = 0.07
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocations"
      period      = 86400
      stat        = "Sum"
      dimensions = {
        EndpointName = "tenon-flights-prod-deployments-vision"
        VariantName  = "main"
      }
    }
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocation5XXErrors"
      period      = 86400
      stat        = "Sum"
      dimensions = {
        EndpointName = "tenon-flights-prod-deployments-vision"
        VariantName  = "main"
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

resource "aws_cloudwatch_metric_alarm" "slos-vision-latency-p50" {
  alarm_name          = "tenon-flights-prod-slos-vision-latency-p50"
  alarm_description   = "p50 of the time that deployments/vision takes is above 7ms for 15 minutes"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/vision"
  }
  namespace   = "AWS/SageMaker"
  metric_name = "ModelLatency"
  dimensions = {
    EndpointName = "tenon-flights-prod-deployments-vision"
    VariantName  = "main"
  }
  extended_statistic = "p50"
  period             = 300
  evaluation_periods = 3
  threshold          = 7000
}

resource "aws_sns_topic" "alarms" {
  name = "tenon-flights-prod-alarms"
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Alarms"
        Effect = "Allow"
        Principal = {
          Service = "cloudwatch.amazonaws.com"
        }
        Action   = ["sns:Publish"]
        Resource = [aws_sns_topic.alarms.arn]
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = [local.account]
          }
        }
      },
      {
        Sid    = "Budget"
        Effect = "Allow"
        Principal = {
          Service = "budgets.amazonaws.com"
        }
        Action   = ["sns:Publish"]
        Resource = [aws_sns_topic.alarms.arn]
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = [local.account]
          }
        }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "email-0a71cb6c" {
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = "ml@acme.example"
}
