# Written by `tenon compile --format=terraform`, which replaces this file.

locals {
  bucket     = "acme-ml"
  root       = "tenon/notify/_"
  bucket_arn = "arn:${local.partition}:s3:::${local.bucket}"
  root_arn   = "${local.bucket_arn}/${local.root}"
}
