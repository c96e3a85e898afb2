# Written by `tenon compile --format=terraform`, which replaces this file.

locals {
  bucket  = google_storage_bucket.artifacts.name
  root    = "tenon/hosts/_"
  objects = "projects/_/buckets/${local.bucket}/objects/${local.root}"
}

resource "google_storage_bucket" "artifacts" {
  name                        = "tenon-hosts-${var.project}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  versioning {
    enabled = true
  }
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }
  depends_on = [google_project_service.apis]
}
