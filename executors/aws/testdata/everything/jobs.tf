# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_batch_compute_environment" "closed" {
  name = "tenon-flights-prod-closed"
  type = "MANAGED"
  compute_resources {
    type               = "FARGATE_SPOT"
    max_vcpus          = 128
    subnets            = aws_subnet.closed[*].id
    security_group_ids = [aws_security_group.closed.id]
  }
}

resource "aws_batch_job_queue" "closed" {
  name     = "tenon-flights-prod-closed"
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
  name = "tenon-flights-prod-open"
  type = "MANAGED"
  compute_resources {
    type               = "FARGATE_SPOT"
    max_vcpus          = 128
    subnets            = aws_subnet.open[*].id
    security_group_ids = [aws_security_group.open.id]
  }
}

resource "aws_batch_job_queue" "open" {
  name     = "tenon-flights-prod-open"
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

resource "aws_batch_job_definition" "features-late" {
  count                 = contains(keys(var.images), "features/late") ? 1 : 0
  name                  = "tenon-flights-prod-features-late"
  type                  = "container"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true
  container_properties = jsonencode({
    image            = var.images["features/late"]
    jobRoleArn       = aws_iam_role.features-late.arn
    executionRoleArn = aws_iam_role.execution-features-late.arn
    resourceRequirements = [
      {
        type  = "VCPU"
        value = "4"
      },
      {
        type  = "MEMORY"
        value = "9216"
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
        awslogs-group         = aws_cloudwatch_log_group.features-late.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "job"
      }
    }
    ephemeralStorage = {
      sizeInGiB = 50
    }
  })
  retry_strategy {
    attempts = 1
  }
  timeout {
    attempt_duration_seconds = 5400
  }
  tags = {
    "tenon:unit" = "features/late"
  }
}

resource "aws_batch_job_definition" "sources-airports" {
  count                 = contains(keys(var.images), "sources/airports") ? 1 : 0
  name                  = "tenon-flights-prod-sources-airports"
  type                  = "container"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true
  container_properties = jsonencode({
    image            = var.images["sources/airports"]
    jobRoleArn       = aws_iam_role.sources-airports.arn
    executionRoleArn = aws_iam_role.execution-sources-airports.arn
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
        awslogs-group         = aws_cloudwatch_log_group.sources-airports.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "job"
      }
    }
  })
  retry_strategy {
    attempts = 1
  }
  tags = {
    "tenon:unit" = "sources/airports"
  }
}

resource "aws_batch_job_definition" "sources-flights" {
  count                 = contains(keys(var.images), "sources/flights") ? 1 : 0
  name                  = "tenon-flights-prod-sources-flights"
  type                  = "container"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true
  container_properties = jsonencode({
    image            = var.images["sources/flights"]
    jobRoleArn       = aws_iam_role.sources-flights.arn
    executionRoleArn = aws_iam_role.execution-sources-flights.arn
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
      assignPublicIp = "ENABLED"
    }
    runtimePlatform = {
      cpuArchitecture       = "X86_64"
      operatingSystemFamily = "LINUX"
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.sources-flights.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "job"
      }
    }
    secrets = [{
      name      = "DSN"
      valueFrom = aws_secretsmanager_secret.FLIGHTS_DSN.arn
    }]
  })
  retry_strategy {
    attempts = 1
  }
  tags = {
    "tenon:unit" = "sources/flights"
  }
}

resource "aws_batch_job_definition" "sources-weather" {
  count                 = contains(keys(var.images), "sources/weather") ? 1 : 0
  name                  = "tenon-flights-prod-sources-weather"
  type                  = "container"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true
  container_properties = jsonencode({
    image            = var.images["sources/weather"]
    jobRoleArn       = aws_iam_role.sources-weather.arn
    executionRoleArn = aws_iam_role.execution-sources-weather.arn
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
        awslogs-group         = aws_cloudwatch_log_group.sources-weather.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "job"
      }
    }
  })
  retry_strategy {
    attempts = 1
  }
  tags = {
    "tenon:unit" = "sources/weather"
  }
}

resource "aws_batch_job_definition" "steps-Report_2-d4032937" {
  count                 = contains(keys(var.images), "steps/Report.2") ? 1 : 0
  name                  = "tenon-flights-prod-steps-Report_2-d4032937"
  type                  = "container"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true
  container_properties = jsonencode({
    image            = var.images["steps/Report.2"]
    jobRoleArn       = aws_iam_role.steps-Report_2-d4032937.arn
    executionRoleArn = aws_iam_role.execution-steps-Report_2-d4032937.arn
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
      assignPublicIp = "ENABLED"
    }
    runtimePlatform = {
      cpuArchitecture       = "X86_64"
      operatingSystemFamily = "LINUX"
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.steps-Report_2-d4032937.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "job"
      }
    }
    secrets = [{
      name      = "TOKEN"
      valueFrom = aws_secretsmanager_secret.REPORT_TOKEN.arn
    }]
  })
  retry_strategy {
    attempts = 1
  }
  tags = {
    "tenon:unit" = "steps/Report.2"
  }
}
