# Written by `tenon compile --format=terraform`, which replaces this file.

output "artifacts" {
  description = "Folder of the system in the bucket."
  value       = "gs://${local.bucket}/${local.root}"
}

output "accounts" {
  description = "Service accounts by unit."
  value = {
    "deployments/api"   = google_service_account.deployments-api.email
    "features/late"     = google_service_account.features-late.email
    "models/late/train" = google_service_account.models-late-train.email
    "sources/airports"  = google_service_account.sources-airports.email
    "sources/flights"   = google_service_account.sources-flights.email
    "sources/weather"   = google_service_account.sources-weather.email
    "steps/Report.2"    = google_service_account.steps-Report_2-d4032937.email
  }
}

output "repository" {
  description = "Where images are pushed."
  value       = "${var.region}-docker.pkg.dev/${var.project}/tenon-flights-prod/units"
}
