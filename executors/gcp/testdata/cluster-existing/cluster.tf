# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_container_cluster" "main" {
  name       = "acme-ml"
  location   = var.region
  network    = "ml"
  subnetwork = "ml-nodes"
  # Nodes are those of the pools.
  remove_default_node_pool = true
  initial_node_count       = 1
  # What has to be kept is in the bucket.
  deletion_protection = false
  # It enforces network policies.
  datapath_provider = "ADVANCED_DATAPATH"
  release_channel {
    channel = "REGULAR"
  }
  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }
  private_cluster_config {
    enable_private_nodes = true
  }
  ip_allocation_policy {
    stack_type = "IPV4"
  }
  gateway_api_config {
    channel = "CHANNEL_STANDARD"
  }
  depends_on = [google_project_service.apis]
}
