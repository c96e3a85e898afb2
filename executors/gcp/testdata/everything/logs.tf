# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_logging_project_bucket_config" "units" {
  project        = var.project
  location       = var.region
  bucket_id      = "tenon-flights-prod"
  description    = "Logs of flights/prod"
  retention_days = var.log_retention_days
  depends_on     = [google_project_service.apis]
}

resource "google_logging_project_sink" "units" {
  name        = "tenon-flights-prod"
  destination = "logging.googleapis.com/${google_logging_project_bucket_config.units.id}"
  filter      = "(resource.type=\"cloud_run_job\" AND resource.labels.job_name=~\"^tenon-flights-prod-\") OR (resource.type=\"cloud_run_revision\" AND resource.labels.service_name=~\"^tenon-flights-prod-\")"
  # A bucket of the same project needs no rights for it.
  unique_writer_identity = true
}
