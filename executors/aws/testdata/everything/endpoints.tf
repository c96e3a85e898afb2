# Written by `tenon compile --format=terraform`, which replaces this file.

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
