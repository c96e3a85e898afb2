# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_iam_role" "deployments-api" {
  name        = "acme-ml-deployments-api"
  description = "What deployments/api of notify may do."
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

resource "aws_iam_role" "steps-count" {
  name        = "acme-ml-steps-count"
  description = "What the program of steps/count of notify may do."
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
    "tenon:unit" = "steps/count"
  }
}

resource "aws_iam_role_policy" "steps-count" {
  name = "unit"
  role = aws_iam_role.steps-count.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${local.root_arn}/units/steps-count/code/*"]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = ["${local.root}/units/steps-count/code/*"]
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
          "${local.root_arn}/units/steps-count/notes/*",
          "${local.root_arn}/units/steps-count/out/out/*",
        ]
      },
    ]
  })
}

resource "aws_iam_role" "execution-steps-count" {
  name        = "acme-ml-execution-steps-count"
  description = "What starts steps/count of notify."
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
    "tenon:unit" = "steps/count"
  }
}

resource "aws_iam_role_policy" "execution-steps-count" {
  name = "unit"
  role = aws_iam_role.execution-steps-count.id
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
        Resource = ["${aws_cloudwatch_log_group.steps-count.arn}:*"]
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

resource "aws_iam_role" "steps-post" {
  name        = "acme-ml-steps-post"
  description = "What the program of steps/post of notify may do."
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
    "tenon:unit" = "steps/post"
  }
}

resource "aws_iam_role_policy" "steps-post" {
  name = "unit"
  role = aws_iam_role.steps-post.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${local.root_arn}/units/steps-post/code/*"]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLike = {
            "s3:prefix" = ["${local.root}/units/steps-post/code/*"]
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
          "${local.root_arn}/units/steps-post/notes/*",
          "${local.root_arn}/units/steps-post/out/out/*",
        ]
      },
    ]
  })
}

resource "aws_iam_role" "execution-steps-post" {
  name        = "acme-ml-execution-steps-post"
  description = "What starts steps/post of notify."
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
    "tenon:unit" = "steps/post"
  }
}

resource "aws_iam_role_policy" "execution-steps-post" {
  name = "unit"
  role = aws_iam_role.execution-steps-post.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [aws_secretsmanager_secret.KEY.arn]
      },
      {
        Sid      = "Parameters"
        Effect   = "Allow"
        Action   = ["ssm:GetParameters"]
        Resource = ["arn:aws:ssm:eu-central-1:123456789012:parameter/token"]
      },
      {
        Sid    = "Log"
        Effect = "Allow"
        Action = [
          "logs:CreateLogStream",
          "logs:PutLogEvents",
        ]
        Resource = ["${aws_cloudwatch_log_group.steps-post.arn}:*"]
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
