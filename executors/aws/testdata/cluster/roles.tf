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
        Service = "pods.eks.amazonaws.com"
      }
      Action = [
        "sts:AssumeRole",
        "sts:TagSession",
      ]
      Condition = {
        StringEquals = {
          "aws:RequestTag/eks-cluster-name"           = ["tenon-flights-prod"]
          "aws:RequestTag/kubernetes-namespace"       = ["ml"]
          "aws:RequestTag/kubernetes-service-account" = ["tenon-deployments-api"]
        }
      }
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
    Statement = [
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "${local.root_arn}/cas/*",
          "${local.root_arn}/notes/runs/deployments-api/*",
          "${local.root_arn}/kept/*/prod/deployments/api/requests/*",
        ]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLikeIfExists = {
            "s3:prefix" = [
              "${local.root}/cas/*",
              "${local.root}/notes/runs/deployments-api/*",
              "${local.root}/kept/*/prod/deployments/api/requests/*",
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
          "${local.root_arn}/notes/runs/deployments-api/*",
          "${local.root_arn}/kept/*/prod/deployments/api/requests/*",
        ]
      },
      {
        Sid      = "Rotate"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject"]
        Resource = ["${local.root_arn}/kept/*/prod/deployments/api/requests/*"]
      },
    ]
  })
}

resource "aws_iam_role" "features-late" {
  name        = "tenon-flights-prod-features-late"
  description = "What features/late of flights may do."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Assume"
      Effect = "Allow"
      Principal = {
        Service = "pods.eks.amazonaws.com"
      }
      Action = [
        "sts:AssumeRole",
        "sts:TagSession",
      ]
      Condition = {
        StringEquals = {
          "aws:RequestTag/eks-cluster-name"           = ["tenon-flights-prod"]
          "aws:RequestTag/kubernetes-namespace"       = ["ml"]
          "aws:RequestTag/kubernetes-service-account" = ["tenon-features-late"]
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
          "${local.root_arn}/cas/*",
          "${local.root_arn}/notes/runs/features-late/*",
        ]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLikeIfExists = {
            "s3:prefix" = [
              "${local.root}/cas/*",
              "${local.root}/notes/runs/features-late/*",
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
          "${local.root_arn}/cas/*",
          "${local.root_arn}/notes/runs/features-late/*",
        ]
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
        Service = "pods.eks.amazonaws.com"
      }
      Action = [
        "sts:AssumeRole",
        "sts:TagSession",
      ]
      Condition = {
        StringEquals = {
          "aws:RequestTag/eks-cluster-name"           = ["tenon-flights-prod"]
          "aws:RequestTag/kubernetes-namespace"       = ["ml"]
          "aws:RequestTag/kubernetes-service-account" = ["tenon-models-late-train"]
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
          "${local.root_arn}/cas/*",
          "${local.root_arn}/notes/runs/models-late-train/*",
        ]
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.bucket_arn]
        Condition = {
          StringLikeIfExists = {
            "s3:prefix" = [
              "${local.root}/cas/*",
              "${local.root}/notes/runs/models-late-train/*",
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
          "${local.root_arn}/cas/*",
          "${local.root_arn}/notes/runs/models-late-train/*",
        ]
      },
    ]
  })
}

resource "aws_eks_pod_identity_association" "deployments-api" {
  cluster_name    = aws_eks_cluster.main.name
  namespace       = "ml"
  service_account = "tenon-deployments-api"
  role_arn        = aws_iam_role.deployments-api.arn
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_eks_pod_identity_association" "features-late" {
  cluster_name    = aws_eks_cluster.main.name
  namespace       = "ml"
  service_account = "tenon-features-late"
  role_arn        = aws_iam_role.features-late.arn
  tags = {
    "tenon:unit" = "features/late"
  }
}

resource "aws_eks_pod_identity_association" "models-late-train" {
  cluster_name    = aws_eks_cluster.main.name
  namespace       = "ml"
  service_account = "tenon-models-late-train"
  role_arn        = aws_iam_role.models-late-train.arn
  tags = {
    "tenon:unit" = "models/late/train"
  }
}
