# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_cloud_run_v2_service" "deployments-api" {
  count       = contains(keys(var.images), "deployments/api") ? 1 : 0
  name        = "tenon-flights-prod-deployments-api"
  location    = var.region
  description = "deployments/api of flights"
  ingress     = "INGRESS_TRAFFIC_ALL"
  # It keeps nothing that would be lost.
  deletion_protection = false
  labels = {
    tenon-unit = "deployments-api"
  }
  template {
    service_account                  = google_service_account.deployments-api.email
    max_instance_request_concurrency = 20
    scaling {
      min_instance_count = 0
      max_instance_count = 8
    }
    containers {
      image = var.images["deployments/api"]
      ports {
        container_port = 8080
      }
      resources {
        limits = {
          cpu    = "1"
          memory = "3072Mi"
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
