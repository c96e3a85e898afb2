# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_iam_role" "steps-Report_2-d4032937" {
  name        = "acme-ml-steps-Report_2-d4032937"
  description = "What steps/Report.2 of notify may do."
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
          "aws:RequestTag/eks-cluster-name"           = ["acme-ml"]
          "aws:RequestTag/kubernetes-namespace"       = ["ml"]
          "aws:RequestTag/kubernetes-service-account" = ["tenon-steps-report-2-d4032937-01b8f195"]
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
          "${local.root_arn}/cas/*",
          "${local.root_arn}/notes/runs/steps-Report_2-d4032937/*",
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
              "${local.root}/notes/runs/steps-Report_2-d4032937/*",
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
          "${local.root_arn}/notes/runs/steps-Report_2-d4032937/*",
        ]
      },
    ]
  })
}

resource "aws_eks_pod_identity_association" "steps-Report_2-d4032937" {
  cluster_name    = aws_eks_cluster.main.name
  namespace       = "ml"
  service_account = "tenon-steps-report-2-d4032937-01b8f195"
  role_arn        = aws_iam_role.steps-Report_2-d4032937.arn
  tags = {
    "tenon:unit" = "steps/Report.2"
  }
}
