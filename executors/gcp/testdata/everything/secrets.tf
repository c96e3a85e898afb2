# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_secret_manager_secret" "FLIGHTS_DSN" {
  secret_id = "tenon-flights-prod-FLIGHTS_DSN"
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret" "REPORT_TOKEN" {
  secret_id = "tenon-flights-prod-REPORT_TOKEN"
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
  depends_on = [google_project_service.apis]
}
