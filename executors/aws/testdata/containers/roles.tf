# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_iam_role" "task-deployments-api" {
  name        = "tenon-shop-task-deployments-api"
  description = "What the program of deployments/api of shop may do."
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
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_iam_role_policy" "task-deployments-api" {
  name = "unit"
  role = aws_iam_role.task-deployments-api.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "${local.root_arn}/units/deployments-api/code/*",
          "${local.root_arn}/units/deployments-api/notes/*",
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
              "${local.root}/units/deployments-api/code/*",
              "${local.root}/units/deployments-api/notes/*",
              "${local.root}/units/models-late-register/out/model/*",
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
        Resource = ["${local.root_arn}/units/deployments-api/notes/*"]
      },
    ]
  })
}

resource "aws_iam_role" "execution-deployments-api" {
  name        = "tenon-shop-execution-deployments-api"
  description = "What starts deployments/api of shop."
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
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_iam_role_policy" "execution-deployments-api" {
  name = "unit"
  role = aws_iam_role.execution-deployments-api.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [aws_secretsmanager_secret.API_KEY.arn]
      },
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["${aws_cloudwatch_log_group.task-deployments-api.arn}:*"]
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

resource "aws_iam_role" "task-deployments-vision" {
  name        = "tenon-shop-task-deployments-vision"
  description = "What the program of deployments/vision of shop may do."
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
    "tenon:unit" = "deployments/vision"
  }
}

resource "aws_iam_role_policy" "task-deployments-vision" {
  name = "unit"
  role = aws_iam_role.task-deployments-vision.id
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
    ]
  })
}

resource "aws_iam_role" "execution-deployments-vision" {
  name        = "tenon-shop-execution-deployments-vision"
  description = "What starts deployments/vision of shop."
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
    "tenon:unit" = "deployments/vision"
  }
}

resource "aws_iam_role_policy" "execution-deployments-vision" {
  name = "unit"
  role = aws_iam_role.execution-deployments-vision.id
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
        Resource = ["${aws_cloudwatch_log_group.task-deployments-vision.arn}:*"]
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
