# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_artifact_registry_repository" "images" {
  repository_id = "tenon-hosts"
  location      = var.region
  format        = "DOCKER"
  description   = "Images of the units of hosts"
  docker_config {
    immutable_tags = true
  }
  depends_on = [google_project_service.apis]
}
