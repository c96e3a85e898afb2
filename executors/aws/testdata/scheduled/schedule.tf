# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_iam_role" "schedule" {
  name        = "tenon-nightly-schedule"
  description = "Starts passes of the controller of nightly."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "events.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "schedule" {
  name = "schedule"
  role = aws_iam_role.schedule.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Submit"
      Effect = "Allow"
      Action = ["batch:SubmitJob"]
      Resource = [
        "arn:${local.partition}:batch:${var.region}:${local.account}:job-definition/tenon-nightly-controller",
        "arn:${local.partition}:batch:${var.region}:${local.account}:job-definition/tenon-nightly-controller:*",
        aws_batch_job_queue.open.arn,
      ]
    }]
  })
}

resource "aws_cloudwatch_event_rule" "controller" {
  name                = "tenon-nightly-controller"
  description         = "Starts a pass of the controller of nightly."
  schedule_expression = "rate(1 hour)"
}

resource "aws_cloudwatch_event_target" "controller" {
  rule      = aws_cloudwatch_event_rule.controller.name
  target_id = "controller"
  arn       = aws_batch_job_queue.open.arn
  role_arn  = aws_iam_role.schedule.arn
  batch_target {
    job_definition = "tenon-nightly-controller"
    job_name       = "tenon-nightly-controller"
  }
  retry_policy {
    # A pass that could not start is as good as the next one.
    maximum_event_age_in_seconds = 60
    maximum_retry_attempts       = 0
  }
}
