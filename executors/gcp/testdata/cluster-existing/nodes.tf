# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_service_account" "nodes" {
  account_id   = "acme-ml-nodes"
  display_name = "Nodes of notify"
  depends_on   = [google_project_service.apis]
}

resource "google_project_iam_member" "nodes" {
  # What GKE itself needs on nodes: logs and metrics.
  project = var.project
  role    = "roles/container.defaultNodeServiceAccount"
  member  = google_service_account.nodes.member
}

resource "google_artifact_registry_repository_iam_member" "nodes" {
  location   = var.region
  repository = "ml-images"
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.nodes.member
}

resource "google_container_node_pool" "system" {
  name    = "system"
  cluster = google_container_cluster.main.id
  # Of each zone.
  initial_node_count = 1
  autoscaling {
    total_min_node_count = 1
    total_max_node_count = 3
    location_policy      = "ANY"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  node_config {
    machine_type    = "e2-standard-2"
    spot            = false
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels = {
      "tenon.dev/pool" = "system"
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    taint {
      key    = "components.gke.io/gke-managed-components"
      value  = "true"
      effect = "NO_SCHEDULE"
    }
  }
}

resource "google_container_node_pool" "cpu" {
  name    = "cpu"
  cluster = google_container_cluster.main.id
  # Of each zone.
  initial_node_count = 1
  autoscaling {
    total_min_node_count = 1
    total_max_node_count = 4
    location_policy      = "ANY"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  node_config {
    machine_type    = "n2-standard-8"
    spot            = false
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels = {
      "tenon.dev/pool" = "cpu"
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }
}
