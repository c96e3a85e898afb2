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
  function_name    = "tenon-flights-prod-deployments-api"
  description      = "deployments/api of flights"
  role             = aws_iam_role.deployments-api.arn
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = ["x86_64"]
  memory_size      = 3072
  timeout          = 30
  s3_bucket        = aws_s3_object.deployments-api[0].bucket
  s3_key           = aws_s3_object.deployments-api[0].key
  source_code_hash = filebase64sha256(var.archives["deployments/api"])
  ephemeral_storage {
    size = 1024
  }
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

resource "aws_sagemaker_model" "deployments-vision" {
  count                    = contains(keys(var.images), "deployments/vision") ? 1 : 0
  name                     = "tenon-flights-prod-deployments-vision-${substr(sha256(var.images["deployments/vision"]), 0, 8)}"
  execution_role_arn       = aws_iam_role.deployments-vision.arn
  enable_network_isolation = true
  primary_container {
    image = var.images["deployments/vision"]
  }
  lifecycle {
    create_before_destroy = true
  }
  depends_on = [aws_iam_role_policy.deployments-vision]
  tags = {
    "tenon:unit" = "deployments/vision"
  }
}

resource "aws_sagemaker_endpoint_configuration" "deployments-vision" {
  count = contains(keys(var.images), "deployments/vision") ? 1 : 0
  name  = "tenon-flights-prod-deployments-vision-${substr(sha256("${var.images["deployments/vision"]} ml.g5.xlarge 2"), 0, 8)}"
  production_variants {
    variant_name           = "main"
    model_name             = aws_sagemaker_model.deployments-vision[0].name
    instance_type          = "ml.g5.xlarge"
    initial_instance_count = 2
  }
  lifecycle {
    create_before_destroy = true
  }
  tags = {
    "tenon:unit" = "deployments/vision"
  }
}

resource "aws_sagemaker_endpoint" "deployments-vision" {
  count                = contains(keys(var.images), "deployments/vision") ? 1 : 0
  name                 = "tenon-flights-prod-deployments-vision"
  endpoint_config_name = aws_sagemaker_endpoint_configuration.deployments-vision[0].name
  depends_on           = [aws_cloudwatch_log_group.deployments-vision]
  tags = {
    "tenon:unit" = "deployments/vision"
  }
}
