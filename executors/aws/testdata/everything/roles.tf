# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_iam_role" "deployments-api" {
  name        = "tenon-flights-prod-deployments-api"
  description = "What deployments/api of flights may do."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "lambda.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
    }]
  })
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_iam_role_policy" "deployments-api" {
  name = "unit"
  role = aws_iam_role.deployments-api.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Log"
      Effect = "Allow"
      Action = [
        "logs:CreateLogStream",
        "logs:PutLogEvents",
      ]
      Resource = ["${aws_cloudwatch_log_group.deployments-api.arn}:*"]
    }]
  })
}

resource "aws_iam_role" "endpoint-deployments-vision" {
  name        = "tenon-flights-prod-endpoint-deployments-vision"
  description = "What deployments/vision of flights may do."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "sagemaker.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "deployments/vision"
  }
}

resource "aws_iam_role_policy" "endpoint-deployments-vision" {
  name = "unit"
  role = aws_iam_role.endpoint-deployments-vision.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "${local.root_arn}/units/deployments-vision/code/*",
          "${local.root_arn}/units/models-late-register/out/model/*",
        ]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = [
              "${local.root}/units/deployments-vision/code/*",
              "${local.root}/units/models-late-register/out/model/*",
            ]
          }
        }
      },
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
          "logs:DescribeLogStreams",
        ]
        Resource = ["${aws_cloudwatch_log_group.endpoint-deployments-vision.arn}:*"]
      },
      {
        Sid    = "Image"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
        ]
        Resource = [local.repository_arn]
      },
      {
        Sid = "Registry"
        # AWS has no resource for this action. The token alone opens no repository.
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
    ]
  })
}

resource "aws_iam_role" "features-late" {
  name        = "tenon-flights-prod-features-late"
  description = "What the program of features/late of flights may do."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "features/late"
  }
}

resource "aws_iam_role_policy" "features-late" {
  name = "unit"
  role = aws_iam_role.features-late.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "${local.root_arn}/units/features-late/code/*",
          "${local.root_arn}/units/sources-flights/out/out/*",
          "${local.root_arn}/units/sources-weather/out/out/*",
        ]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = [
              "${local.root}/units/features-late/code/*",
              "${local.root}/units/sources-flights/out/out/*",
              "${local.root}/units/sources-weather/out/out/*",
            ]
          }
        }
      },
      {
        Sid    = "Write"
        Effect = "Allow"
        Action = [
          "s3:PutObject",
          "s3:AbortMultipartUpload",
        ]
        Resource = [
          "${local.root_arn}/units/features-late/notes/*",
          "${local.root_arn}/units/features-late/out/out/*",
        ]
      },
    ]
  })
}

resource "aws_iam_role" "execution-features-late" {
  name        = "tenon-flights-prod-execution-features-late"
  description = "What starts features/late of flights."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "features/late"
  }
}

resource "aws_iam_role_policy" "execution-features-late" {
  name = "unit"
  role = aws_iam_role.execution-features-late.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["${aws_cloudwatch_log_group.features-late.arn}:*"]
      },
      {
        Sid    = "Image"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
        ]
        Resource = [local.repository_arn]
      },
      {
        Sid = "Registry"
        # AWS has no resource for this action. The token alone opens no repository.
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
    ]
  })
}

resource "aws_iam_role" "models-late-train" {
  name        = "tenon-flights-prod-models-late-train"
  description = "What models/late/train of flights may do."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "sagemaker.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "models/late/train"
  }
}

resource "aws_iam_role_policy" "models-late-train" {
  name = "unit"
  role = aws_iam_role.models-late-train.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "${local.root_arn}/units/features-late/out/out/*",
          "${local.root_arn}/units/models-late-train/code/*",
        ]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = [
              "${local.root}/units/features-late/out/out/*",
              "${local.root}/units/models-late-train/code/*",
            ]
          }
        }
      },
      {
        Sid    = "Write"
        Effect = "Allow"
        Action = [
          "s3:PutObject",
          "s3:AbortMultipartUpload",
        ]
        Resource = [
          "${local.root_arn}/units/models-late-train/notes/*",
          "${local.root_arn}/units/models-late-train/out/model/*",
        ]
      },
      {
        Sid    = "LogGroup"
        Effect = "Allow"
        Action = [
          "logs:CreateLogGroup",
          "logs:DescribeLogStreams",
        ]
        Resource = ["arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/sagemaker/TrainingJobs:*"]
      },
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/sagemaker/TrainingJobs:log-stream:t92b61a24-*"]
      },
      {
        Sid    = "Image"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
        ]
        Resource = [local.repository_arn]
      },
      {
        Sid = "Registry"
        # AWS has no resource for this action. The token alone opens no repository.
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
    ]
  })
}

resource "aws_iam_role" "sources-airports" {
  name        = "tenon-flights-prod-sources-airports"
  description = "What the program of sources/airports of flights may do."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "sources/airports"
  }
}

resource "aws_iam_role_policy" "sources-airports" {
  name = "unit"
  role = aws_iam_role.sources-airports.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${local.root_arn}/units/sources-airports/code/*"]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = ["${local.root}/units/sources-airports/code/*"]
          }
        }
      },
      {
        Sid    = "Write"
        Effect = "Allow"
        Action = [
          "s3:PutObject",
          "s3:AbortMultipartUpload",
        ]
        Resource = [
          "${local.root_arn}/units/sources-airports/notes/*",
          "${local.root_arn}/units/sources-airports/out/out/*",
        ]
      },
    ]
  })
}

resource "aws_iam_role" "execution-sources-airports" {
  name        = "tenon-flights-prod-execution-sources-airports"
  description = "What starts sources/airports of flights."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "sources/airports"
  }
}

resource "aws_iam_role_policy" "execution-sources-airports" {
  name = "unit"
  role = aws_iam_role.execution-sources-airports.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["${aws_cloudwatch_log_group.sources-airports.arn}:*"]
      },
      {
        Sid    = "Image"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
        ]
        Resource = [local.repository_arn]
      },
      {
        Sid = "Registry"
        # AWS has no resource for this action. The token alone opens no repository.
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
    ]
  })
}

resource "aws_iam_role" "sources-flights" {
  name        = "tenon-flights-prod-sources-flights"
  description = "What the program of sources/flights of flights may do."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "sources/flights"
  }
}

resource "aws_iam_role_policy" "sources-flights" {
  name = "unit"
  role = aws_iam_role.sources-flights.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${local.root_arn}/units/sources-flights/code/*"]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = ["${local.root}/units/sources-flights/code/*"]
          }
        }
      },
      {
        Sid    = "Write"
        Effect = "Allow"
        Action = [
          "s3:PutObject",
          "s3:AbortMultipartUpload",
        ]
        Resource = [
          "${local.root_arn}/units/sources-flights/notes/*",
          "${local.root_arn}/units/sources-flights/out/out/*",
        ]
      },
    ]
  })
}

resource "aws_iam_role" "execution-sources-flights" {
  name        = "tenon-flights-prod-execution-sources-flights"
  description = "What starts sources/flights of flights."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "sources/flights"
  }
}

resource "aws_iam_role_policy" "execution-sources-flights" {
  name = "unit"
  role = aws_iam_role.execution-sources-flights.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [aws_secretsmanager_secret.FLIGHTS_DSN.arn]
      },
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["${aws_cloudwatch_log_group.sources-flights.arn}:*"]
      },
      {
        Sid    = "Image"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
        ]
        Resource = [local.repository_arn]
      },
      {
        Sid = "Registry"
        # AWS has no resource for this action. The token alone opens no repository.
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
    ]
  })
}

resource "aws_iam_role" "sources-weather" {
  name        = "tenon-flights-prod-sources-weather"
  description = "What the program of sources/weather of flights may do."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "sources/weather"
  }
}

resource "aws_iam_role_policy" "sources-weather" {
  name = "unit"
  role = aws_iam_role.sources-weather.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "${local.root_arn}/units/sources-weather/code/*",
          "${local.root_arn}/units/sources-weather/files/*",
        ]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = [
              "${local.root}/units/sources-weather/code/*",
              "${local.root}/units/sources-weather/files/*",
            ]
          }
        }
      },
      {
        Sid    = "Write"
        Effect = "Allow"
        Action = [
          "s3:PutObject",
          "s3:AbortMultipartUpload",
        ]
        Resource = [
          "${local.root_arn}/units/sources-weather/notes/*",
          "${local.root_arn}/units/sources-weather/out/out/*",
        ]
      },
    ]
  })
}

resource "aws_iam_role" "execution-sources-weather" {
  name        = "tenon-flights-prod-execution-sources-weather"
  description = "What starts sources/weather of flights."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "sources/weather"
  }
}

resource "aws_iam_role_policy" "execution-sources-weather" {
  name = "unit"
  role = aws_iam_role.execution-sources-weather.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["${aws_cloudwatch_log_group.sources-weather.arn}:*"]
      },
      {
        Sid    = "Image"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
        ]
        Resource = [local.repository_arn]
      },
      {
        Sid = "Registry"
        # AWS has no resource for this action. The token alone opens no repository.
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
    ]
  })
}

resource "aws_iam_role" "steps-Report_2-d4032937" {
  name        = "tenon-flights-prod-steps-Report_2-d4032937"
  description = "What the program of steps/Report.2 of flights may do."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "steps/Report.2"
  }
}

resource "aws_iam_role_policy" "steps-Report_2-d4032937" {
  name = "unit"
  role = aws_iam_role.steps-Report_2-d4032937.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "${local.root_arn}/units/features-late/out/out/*",
          "${local.root_arn}/units/steps-Report_2-d4032937/code/*",
        ]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = [
              "${local.root}/units/features-late/out/out/*",
              "${local.root}/units/steps-Report_2-d4032937/code/*",
            ]
          }
        }
      },
      {
        Sid    = "Write"
        Effect = "Allow"
        Action = [
          "s3:PutObject",
          "s3:AbortMultipartUpload",
        ]
        Resource = [
          "${local.root_arn}/units/steps-Report_2-d4032937/notes/*",
          "${local.root_arn}/units/steps-Report_2-d4032937/out/out/*",
        ]
      },
      {
        Sid      = "InvokeFunctionUrls"
        Effect   = "Allow"
        Action   = ["lambda:InvokeFunctionUrl"]
        Resource = ["arn:${local.partition}:lambda:${var.region}:${local.account}:function:tenon-flights-prod-deployments-api:live"]
        Condition = {
          StringEquals = {
            "lambda:FunctionUrlAuthType" = ["AWS_IAM"]
          }
        }
      },
      {
        Sid      = "InvokeFunctionsByUrl"
        Effect   = "Allow"
        Action   = ["lambda:InvokeFunction"]
        Resource = ["arn:${local.partition}:lambda:${var.region}:${local.account}:function:tenon-flights-prod-deployments-api:live"]
        Condition = {
          Bool = {
            "lambda:InvokedViaFunctionUrl" = ["true"]
          }
        }
      },
      {
        Sid      = "InvokeEndpoints"
        Effect   = "Allow"
        Action   = ["sagemaker:InvokeEndpoint"]
        Resource = ["arn:${local.partition}:sagemaker:${var.region}:${local.account}:endpoint/tenon-flights-prod-deployments-vision"]
      },
    ]
  })
}

resource "aws_iam_role" "execution-steps-Report_2-d4032937" {
  name        = "tenon-flights-prod-execution-steps-Report_2-d4032937"
  description = "What starts steps/Report.2 of flights."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "ecs-tasks.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = [local.account]
        }
      }
    }]
  })
  tags = {
    "tenon:unit" = "steps/Report.2"
  }
}

resource "aws_iam_role_policy" "execution-steps-Report_2-d4032937" {
  name = "unit"
  role = aws_iam_role.execution-steps-Report_2-d4032937.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [aws_secretsmanager_secret.REPORT_TOKEN.arn]
      },
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["${aws_cloudwatch_log_group.steps-Report_2-d4032937.arn}:*"]
      },
      {
        Sid    = "Image"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
        ]
        Resource = [local.repository_arn]
      },
      {
        Sid = "Registry"
        # AWS has no resource for this action. The token alone opens no repository.
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
    ]
  })
}
