# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_batch_compute_environment" "closed" {
  name = "tenon-nightly-closed"
  type = "MANAGED"
  compute_resources {
    type               = "FARGATE"
    max_vcpus          = 64
    subnets            = aws_subnet.closed[*].id
    security_group_ids = [aws_security_group.closed.id]
  }
}

resource "aws_batch_job_queue" "closed" {
  name     = "tenon-nightly-closed"
  state    = "ENABLED"
  priority = 1
  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.closed.arn
  }
  job_state_time_limit_action {
    # A job that can never start would stay RUNNABLE forever.
    action           = "CANCEL"
    max_time_seconds = 600
    reason           = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"
    state            = "RUNNABLE"
  }
  job_state_time_limit_action {
    # A job that can never start would stay RUNNABLE forever.
    action           = "CANCEL"
    max_time_seconds = 600
    reason           = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
    state            = "RUNNABLE"
  }
}

resource "aws_batch_compute_environment" "open" {
  name = "tenon-nightly-open"
  type = "MANAGED"
  compute_resources {
    type               = "FARGATE"
    max_vcpus          = 64
    subnets            = aws_subnet.open[*].id
    security_group_ids = [aws_security_group.open.id]
  }
}

resource "aws_batch_job_queue" "open" {
  name     = "tenon-nightly-open"
  state    = "ENABLED"
  priority = 1
  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.open.arn
  }
  job_state_time_limit_action {
    # A job that can never start would stay RUNNABLE forever.
    action           = "CANCEL"
    max_time_seconds = 600
    reason           = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"
    state            = "RUNNABLE"
  }
  job_state_time_limit_action {
    # A job that can never start would stay RUNNABLE forever.
    action           = "CANCEL"
    max_time_seconds = 600
    reason           = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
    state            = "RUNNABLE"
  }
}

resource "aws_batch_job_definition" "models-late-train" {
  count                 = contains(keys(var.images), "models/late/train") ? 1 : 0
  name                  = "tenon-nightly-models-late-train"
  type                  = "container"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true
  container_properties = jsonencode({
    image            = var.images["models/late/train"]
    jobRoleArn       = aws_iam_role.models-late-train.arn
    executionRoleArn = aws_iam_role.execution-models-late-train.arn
    resourceRequirements = [
      {
        type  = "VCPU"
        value = "1"
      },
      {
        type  = "MEMORY"
        value = "2048"
      },
    ]
    networkConfiguration = {
      assignPublicIp = "DISABLED"
    }
    runtimePlatform = {
      cpuArchitecture       = "X86_64"
      operatingSystemFamily = "LINUX"
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.models-late-train.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "job"
      }
    }
    secrets = [{
      name      = "TOKEN"
      valueFrom = aws_secretsmanager_secret.TOKEN.arn
    }]
  })
  retry_strategy {
    attempts = 1
  }
  tags = {
    "tenon:unit" = "models/late/train"
  }
}
