# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_cloud_run_v2_service" "deployments-api" {
  count       = contains(keys(var.images), "deployments/api") ? 1 : 0
  name        = "acme-ml-deployments-api"
  location    = var.region
  description = "deployments/api of notify"
  ingress     = "INGRESS_TRAFFIC_ALL"
  # It keeps nothing that would be lost.
  deletion_protection = false
  labels = {
    tenon-unit = "deployments-api"
  }
  template {
    service_account = google_service_account.deployments-api.email
    scaling {
      min_instance_count = 1
      max_instance_count = 1
    }
    containers {
      image = var.images["deployments/api"]
      ports {
        container_port = 8080
      }
      resources {
        limits = {
          cpu    = "1"
          memory = "2048Mi"
        }
      }
      startup_probe {
        http_get {
          path = "/readyz"
        }
      }
    }
  }
  depends_on = [google_project_service.apis]
}
