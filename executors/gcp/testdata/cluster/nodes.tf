# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_service_account" "nodes" {
  account_id   = "tenon-flights-prod-nodes"
  display_name = "Nodes of flights/prod"
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
  repository = google_artifact_registry_repository.images.name
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

resource "google_container_node_pool" "gpu" {
  name    = "gpu"
  cluster = google_container_cluster.main.id
  # Of each zone.
  initial_node_count = 0
  node_locations     = ["europe-west3-a"]
  autoscaling {
    total_min_node_count = 0
    total_max_node_count = 4
    location_policy      = "ANY"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  node_config {
    machine_type    = "g2-standard-24"
    spot            = true
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels = {
      "tenon.dev/pool" = "gpu"
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    shielded_instance_config {
      enable_secure_boot          = false
      enable_integrity_monitoring = true
    }
    guest_accelerator {
      # GKE taints such nodes itself: nvidia.com/gpu=present:NoSchedule.
      type  = "nvidia-l4"
      count = 2
      gpu_driver_installation_config {
        gpu_driver_version = "DEFAULT"
      }
    }
  }
}

resource "google_container_node_pool" "t4" {
  name    = "t4"
  cluster = google_container_cluster.main.id
  # Of each zone.
  initial_node_count = 0
  autoscaling {
    total_min_node_count = 0
    total_max_node_count = 1
    location_policy      = "ANY"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  node_config {
    machine_type    = "n1-standard-8"
    spot            = false
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels = {
      "acme.example/old" = "yes"
      "tenon.dev/pool"   = "t4"
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    shielded_instance_config {
      enable_secure_boot          = false
      enable_integrity_monitoring = true
    }
    guest_accelerator {
      # GKE taints such nodes itself: nvidia.com/gpu=present:NoSchedule.
      type  = "nvidia-tesla-t4"
      count = 4
      gpu_driver_installation_config {
        gpu_driver_version = "DEFAULT"
      }
    }
    taint {
      key    = "old"
      value  = "yes"
      effect = "NO_EXECUTE"
    }
  }
}

resource "google_container_node_pool" "units" {
  name    = "units"
  cluster = google_container_cluster.main.id
  # Of each zone.
  initial_node_count = 0
  autoscaling {
    total_min_node_count = 0
    total_max_node_count = 8
    location_policy      = "ANY"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  node_config {
    machine_type    = "e2-standard-4"
    spot            = false
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels = {
      "tenon.dev/pool" = "units"
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
