# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_compute_network" "cluster" {
  name                    = "tenon-flights-prod"
  auto_create_subnetworks = false
  depends_on              = [google_project_service.apis]
}

resource "google_compute_subnetwork" "cluster" {
  name                     = "tenon-flights-prod"
  region                   = var.region
  network                  = google_compute_network.cluster.id
  ip_cidr_range            = "10.40.0.0/20"
  private_ip_google_access = true
}

resource "google_compute_router" "cluster" {
  name    = "tenon-flights-prod"
  region  = var.region
  network = google_compute_network.cluster.id
}

resource "google_compute_router_nat" "cluster" {
  # Without it, nodes cannot pull images of other registries.
  name                               = "tenon-flights-prod"
  region                             = var.region
  router                             = google_compute_router.cluster.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}
