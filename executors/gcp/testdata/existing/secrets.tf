# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_secret_manager_secret" "KEY" {
  secret_id = "acme-ml-KEY"
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
  depends_on = [google_project_service.apis]
}
