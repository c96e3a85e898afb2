# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_batch_compute_environment" "closed" {
  name = "acme-ml-closed"
  type = "MANAGED"
  compute_resources {
    type      = "FARGATE"
    max_vcpus = 64
    subnets = [
      "subnet-0a",
      "subnet-0b",
    ]
    security_group_ids = [aws_security_group.closed.id]
  }
}

resource "aws_batch_job_queue" "closed" {
  name     = "acme-ml-closed"
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
  name = "acme-ml-open"
  type = "MANAGED"
  compute_resources {
    type               = "FARGATE"
    max_vcpus          = 64
    subnets            = ["subnet-0c"]
    security_group_ids = [aws_security_group.open.id]
  }
}

resource "aws_batch_job_queue" "open" {
  name     = "acme-ml-open"
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

resource "aws_batch_job_definition" "steps-count" {
  count                 = contains(keys(var.images), "steps/count") ? 1 : 0
  name                  = "acme-ml-steps-count"
  type                  = "container"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true
  container_properties = jsonencode({
    image            = var.images["steps/count"]
    jobRoleArn       = aws_iam_role.steps-count.arn
    executionRoleArn = aws_iam_role.execution-steps-count.arn
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
      cpuArchitecture       = "ARM64"
      operatingSystemFamily = "LINUX"
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.steps-count.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "job"
      }
    }
  })
  retry_strategy {
    attempts = 1
  }
  tags = {
    "tenon:unit" = "steps/count"
  }
}

resource "aws_batch_job_definition" "steps-post" {
  count                 = contains(keys(var.images), "steps/post") ? 1 : 0
  name                  = "acme-ml-steps-post"
  type                  = "container"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true
  container_properties = jsonencode({
    image            = var.images["steps/post"]
    jobRoleArn       = aws_iam_role.steps-post.arn
    executionRoleArn = aws_iam_role.execution-steps-post.arn
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
      cpuArchitecture       = "ARM64"
      operatingSystemFamily = "LINUX"
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.steps-post.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "job"
      }
    }
    secrets = [
      {
        name      = "TOKEN"
        valueFrom = "arn:aws:ssm:eu-central-1:123456789012:parameter/token"
      },
      {
        name      = "KEY"
        valueFrom = aws_secretsmanager_secret.KEY.arn
      },
    ]
  })
  retry_strategy {
    attempts = 1
  }
  tags = {
    "tenon:unit" = "steps/post"
  }
}
