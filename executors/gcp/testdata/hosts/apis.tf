# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_project_service" "apis" {
  for_each = toset([
    "aiplatform.googleapis.com",
    "artifactregistry.googleapis.com",
    "iam.googleapis.com",
    "storage.googleapis.com",
  ])
  service = each.value
  # Others in the project may use them.
  disable_on_destroy = false
}
