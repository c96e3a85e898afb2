# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_cloudwatch_metric_alarm" "slos-api-outage" {
  alarm_name          = "tenon-shop-slos-api-outage"
  alarm_description   = "no container of deployments/api has been healthy for 5 minutes"
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/api"
  }
  namespace   = "AWS/ApplicationELB"
  metric_name = "HealthyHostCount"
  dimensions = {
    LoadBalancer = aws_lb.main.arn_suffix
    TargetGroup  = aws_lb_target_group.deployments-api.arn_suffix
  }
  statistic          = "Maximum"
  period             = 60
  evaluation_periods = 5
  threshold          = 1
}

resource "aws_cloudwatch_metric_alarm" "slos-api-availability-1h" {
  alarm_name          = "tenon-shop-slos-api-availability-1h"
  alarm_description   = "2% of the error budget of deployments/api for 7d is used up in 1h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/api"
  }
  threshold          = 0.0336
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "RequestCount"
      period      = 3600
      stat        = "Sum"
      dimensions = {
        LoadBalancer = aws_lb.main.arn_suffix
        TargetGroup  = aws_lb_target_group.deployments-api.arn_suffix
      }
    }
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_Target_5XX_Count"
      period      = 3600
      stat        = "Sum"
      dimensions = {
        LoadBalancer = aws_lb.main.arn_suffix
        TargetGroup  = aws_lb_target_group.deployments-api.arn_suffix
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
  alarm_name          = "tenon-shop-slos-api-availability-6h"
  alarm_description   = "5% of the error budget of deployments/api for 7d is used up in 6h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/api"
  }
  threshold          = 0.014
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "RequestCount"
      period      = 21600
      stat        = "Sum"
      dimensions = {
        LoadBalancer = aws_lb.main.arn_suffix
        TargetGroup  = aws_lb_target_group.deployments-api.arn_suffix
      }
    }
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_Target_5XX_Count"
      period      = 21600
      stat        = "Sum"
      dimensions = {
        LoadBalancer = aws_lb.main.arn_suffix
        TargetGroup  = aws_lb_target_group.deployments-api.arn_suffix
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
  alarm_name          = "tenon-shop-slos-api-availability-24h"
  alarm_description   = "10% of the error budget of deployments/api for 7d is used up in 24h"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/api"
  }
  threshold          = 0.007
  evaluation_periods = 1
  metric_query {
    id = "requests"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "RequestCount"
      period      = 86400
      stat        = "Sum"
      dimensions = {
        LoadBalancer = aws_lb.main.arn_suffix
        TargetGroup  = aws_lb_target_group.deployments-api.arn_suffix
      }
    }
  }
  metric_query {
    id = "errors"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_Target_5XX_Count"
      period      = 86400
      stat        = "Sum"
      dimensions = {
        LoadBalancer = aws_lb.main.arn_suffix
        TargetGroup  = aws_lb_target_group.deployments-api.arn_suffix
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
  alarm_name          = "tenon-shop-slos-api-latency-p99"
  alarm_description   = "p99 of the time that deployments/api takes is above 50ms for 15 minutes"
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags = {
    "tenon:unit" = "slos/api"
  }
  namespace   = "AWS/ApplicationELB"
  metric_name = "TargetResponseTime"
  dimensions = {
    LoadBalancer = aws_lb.main.arn_suffix
    TargetGroup  = aws_lb_target_group.deployments-api.arn_suffix
  }
  extended_statistic = "p99"
  period             = 300
  evaluation_periods = 3
  threshold          = 0.05
}

resource "aws_sns_topic" "alarms" {
  name = "tenon-shop-alarms"
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
