# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_ecr_repository" "images" {
  name                 = "tenon-nightly"
  image_tag_mutability = "IMMUTABLE"
  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = "AES256"
  }
}

locals {
  repository_arn = aws_ecr_repository.images.arn
  repository_url = aws_ecr_repository.images.repository_url
}
