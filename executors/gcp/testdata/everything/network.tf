# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_compute_network" "closed" {
  name                    = "tenon-flights-prod"
  auto_create_subnetworks = false
  depends_on              = [google_project_service.apis]
}

resource "google_compute_subnetwork" "closed" {
  name                     = "tenon-flights-prod"
  region                   = var.region
  network                  = google_compute_network.closed.id
  ip_cidr_range            = "10.40.0.0/24"
  private_ip_google_access = true
}
