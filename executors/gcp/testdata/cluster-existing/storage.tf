# Written by `tenon compile --format=terraform`, which replaces this file.

locals {
  bucket  = "acme-ml"
  root    = "tenon/notify/_"
  objects = "projects/_/buckets/${local.bucket}/objects/${local.root}"
}
