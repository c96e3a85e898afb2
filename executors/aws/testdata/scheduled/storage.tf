# Written by `tenon compile --format=terraform`, which replaces this file.

locals {
  bucket     = aws_s3_bucket.artifacts.bucket
  root       = "tenon/nightly/_"
  bucket_arn = "arn:${local.partition}:s3:::${local.bucket}"
  root_arn   = "${local.bucket_arn}/${local.root}"
}

resource "aws_s3_bucket" "artifacts" {
  bucket = "tenon-nightly-${local.account}-${var.region}"
}

resource "aws_s3_bucket_versioning" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "artifacts" {
  bucket                  = aws_s3_bucket.artifacts.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  rule {
    id     = "unfinished-uploads"
    status = "Enabled"
    filter {
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

resource "aws_s3_bucket_policy" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid = "OnlyTLS"
      # Denies every request without TLS.
      Effect    = "Deny"
      Principal = "*"
      Action    = ["s3:*"]
      Resource = [
        local.bucket_arn,
        "${local.bucket_arn}/*",
      ]
      Condition = {
        Bool = {
          "aws:SecureTransport" = ["false"]
        }
      }
    }]
  })
  depends_on = [aws_s3_bucket_public_access_block.artifacts]
}
