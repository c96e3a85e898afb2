# Written by `tenon compile --format=terraform`, which replaces this file.

data "aws_ecr_repository" "images" {
  name = "ml/images"
}

locals {
  repository_arn = data.aws_ecr_repository.images.arn
  repository_url = data.aws_ecr_repository.images.repository_url
}
