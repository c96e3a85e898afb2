# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_iam_role" "deployments-api" {
  name        = "tenon-nightly-deployments-api"
  description = "What deployments/api of nightly may do."
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

resource "aws_iam_role" "models-late-train" {
  name        = "tenon-nightly-models-late-train"
  description = "What the program of models/late/train of nightly may do."
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
        Sid      = "Read"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${local.root_arn}/units/models-late-train/code/*"]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = ["${local.root}/units/models-late-train/code/*"]
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
          "${local.root_arn}/units/models-late-train/out/out/*",
        ]
      },
    ]
  })
}

resource "aws_iam_role" "execution-models-late-train" {
  name        = "tenon-nightly-execution-models-late-train"
  description = "What starts models/late/train of nightly."
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
    "tenon:unit" = "models/late/train"
  }
}

resource "aws_iam_role_policy" "execution-models-late-train" {
  name = "unit"
  role = aws_iam_role.execution-models-late-train.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [aws_secretsmanager_secret.TOKEN.arn]
      },
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["${aws_cloudwatch_log_group.models-late-train.arn}:*"]
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

resource "aws_iam_role" "models-vision-train" {
  name        = "tenon-nightly-models-vision-train"
  description = "What models/vision/train of nightly may do."
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
    "tenon:unit" = "models/vision/train"
  }
}

resource "aws_iam_role_policy" "models-vision-train" {
  name = "unit"
  role = aws_iam_role.models-vision-train.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${local.root_arn}/units/models-vision-train/code/*"]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = ["${local.root}/units/models-vision-train/code/*"]
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
          "${local.root_arn}/units/models-vision-train/notes/*",
          "${local.root_arn}/units/models-vision-train/out/out/*",
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
        Resource = ["arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/sagemaker/TrainingJobs:log-stream:t66491062-*"]
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

resource "aws_iam_role" "controller" {
  name        = "tenon-nightly-controller"
  description = "What the program of controller of nightly may do."
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
    "tenon:unit" = "controller"
  }
}

resource "aws_iam_role_policy" "controller" {
  name = "unit"
  role = aws_iam_role.controller.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Artifacts"
        Effect = "Allow"
        Action = [
          "s3:AbortMultipartUpload",
          "s3:DeleteObject",
          "s3:GetObject",
          "s3:PutObject",
        ]
        Resource = ["${local.root_arn}/*"]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = ["${local.root}/*"]
          }
        }
      },
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [aws_secretsmanager_secret.TOKEN.arn]
      },
      {
        Sid    = "Start"
        Effect = "Allow"
        Action = [
          "batch:RegisterJobDefinition",
          "batch:SubmitJob",
          "batch:TagResource",
        ]
        Resource = [
          "arn:${local.partition}:batch:${var.region}:${local.account}:job-definition/tenon-*",
          "arn:${local.partition}:batch:${var.region}:${local.account}:job/*",
          aws_batch_job_queue.closed.arn,
        ]
        Condition = {
          StringEquals = {
            "aws:RequestTag/tenon:environment" = ["nightly"]
          }
        }
      },
      {
        Sid    = "End"
        Effect = "Allow"
        Action = [
          "batch:DeregisterJobDefinition",
          "batch:TerminateJob",
        ]
        Resource = [
          "arn:${local.partition}:batch:${var.region}:${local.account}:job-definition/tenon-*",
          "arn:${local.partition}:batch:${var.region}:${local.account}:job/*",
        ]
        Condition = {
          StringEquals = {
            "aws:ResourceTag/tenon:environment" = ["nightly"]
          }
        }
      },
      {
        Sid    = "Train"
        Effect = "Allow"
        Action = [
          "sagemaker:AddTags",
          "sagemaker:CreateTrainingJob",
          "sagemaker:DeleteTrainingJob",
          "sagemaker:DescribeTrainingJob",
          "sagemaker:StopTrainingJob",
        ]
        Resource = ["arn:${local.partition}:sagemaker:${var.region}:${local.account}:training-job/t66491062-*"]
      },
      {
        Sid    = "Serve"
        Effect = "Allow"
        Action = [
          "lambda:CreateAlias",
          "lambda:CreateFunction",
          "lambda:CreateFunctionUrlConfig",
          "lambda:DeleteFunction",
          "lambda:DeleteFunctionConcurrency",
          "lambda:DeleteFunctionUrlConfig",
          "lambda:GetAlias",
          "lambda:GetFunction",
          "lambda:GetFunctionConcurrency",
          "lambda:GetFunctionConfiguration",
          "lambda:GetFunctionUrlConfig",
          "lambda:InvokeFunction",
          "lambda:ListTags",
          "lambda:ListVersionsByFunction",
          "lambda:PublishVersion",
          "lambda:PutFunctionConcurrency",
          "lambda:TagResource",
          "lambda:UpdateAlias",
          "lambda:UpdateFunctionCode",
          "lambda:UpdateFunctionConfiguration",
        ]
        Resource = [
          "arn:${local.partition}:lambda:${var.region}:${local.account}:function:tenon-nightly-deployments-api",
          "arn:${local.partition}:lambda:${var.region}:${local.account}:function:tenon-nightly-deployments-api:*",
        ]
      },
      {
        Sid    = "Pass"
        Effect = "Allow"
        Action = ["iam:PassRole"]
        Resource = [
          aws_iam_role.deployments-api.arn,
          aws_iam_role.models-late-train.arn,
          aws_iam_role.execution-models-late-train.arn,
          aws_iam_role.models-vision-train.arn,
        ]
        Condition = {
          StringEquals = {
            "iam:PassedToService" = [
              "batch.amazonaws.com",
              "ecs-tasks.amazonaws.com",
              "lambda.amazonaws.com",
              "sagemaker.amazonaws.com",
            ]
          }
        }
      },
      {
        Sid    = "Logs"
        Effect = "Allow"
        Action = [
          "logs:DescribeLogStreams",
          "logs:FilterLogEvents",
          "logs:GetLogEvents",
        ]
        Resource = [
          "${aws_cloudwatch_log_group.deployments-api.arn}:*",
          "${aws_cloudwatch_log_group.models-late-train.arn}:*",
          "arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/sagemaker/TrainingJobs:*",
        ]
      },
      {
        Sid = "Look"
        # AWS has no resource for these actions, or tenon looks for what exists. They change nothing.
        Effect = "Allow"
        Action = [
          "batch:DescribeComputeEnvironments",
          "batch:DescribeJobDefinitions",
          "batch:DescribeJobQueues",
          "batch:DescribeJobs",
          "batch:ListJobs",
          "ecs:DescribeTaskDefinition",
          "ecs:ListTaskDefinitionFamilies",
          "lambda:ListFunctions",
          "sagemaker:ListEndpointConfigs",
          "sagemaker:ListModels",
          "sagemaker:ListTags",
          "sagemaker:ListTrainingJobs",
          "servicequotas:ListServiceQuotas",
        ]
        Resource = ["*"]
      },
    ]
  })
}

resource "aws_iam_role" "execution-controller" {
  name        = "tenon-nightly-execution-controller"
  description = "What starts controller of nightly."
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
    "tenon:unit" = "controller"
  }
}

resource "aws_iam_role_policy" "execution-controller" {
  name = "unit"
  role = aws_iam_role.execution-controller.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Secrets"
        Effect = "Allow"
        Action = ["secretsmanager:GetSecretValue"]
        Resource = [
          aws_secretsmanager_secret.TENON_STATE.arn,
          aws_secretsmanager_secret.TOKEN.arn,
        ]
      },
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["${aws_cloudwatch_log_group.controller.arn}:*"]
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
