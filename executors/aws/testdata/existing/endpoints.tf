# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_s3_object" "deployments-api" {
  count       = contains(keys(var.archives), "deployments/api") ? 1 : 0
  bucket      = local.bucket
  key         = "${local.root}/archives/deployments-api.zip"
  source      = var.archives["deployments/api"]
  source_hash = filemd5(var.archives["deployments/api"])
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_lambda_function" "deployments-api" {
  count            = contains(keys(var.archives), "deployments/api") ? 1 : 0
  function_name    = "acme-ml-deployments-api"
  description      = "deployments/api of notify"
  role             = aws_iam_role.deployments-api.arn
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = ["arm64"]
  memory_size      = 2048
  timeout          = 30
  s3_bucket        = aws_s3_object.deployments-api[0].bucket
  s3_key           = aws_s3_object.deployments-api[0].key
  source_code_hash = filebase64sha256(var.archives["deployments/api"])
  depends_on = [
    aws_cloudwatch_log_group.deployments-api,
    aws_iam_role_policy.deployments-api,
  ]
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_lambda_function_url" "deployments-api" {
  count              = contains(keys(var.archives), "deployments/api") ? 1 : 0
  function_name      = aws_lambda_function.deployments-api[0].function_name
  authorization_type = "AWS_IAM"
}
