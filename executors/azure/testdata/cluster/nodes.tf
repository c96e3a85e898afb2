# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_kubernetes_cluster_node_pool" "gpu" {
  name                  = "gpu"
  kubernetes_cluster_id = azurerm_kubernetes_cluster.main.id
  mode                  = "User"
  vm_size               = "Standard_NC48ads_A100_v4"
  auto_scaling_enabled  = true
  min_count             = 0
  max_count             = 4
  gpu_driver            = "Install"
  priority              = "Spot"
  eviction_policy       = "Delete"
  # At most what other nodes cost.
  spot_max_price = -1
  node_labels = {
    "kubernetes.azure.com/scalesetpriority" = "spot"
    "tenon.dev/pool"                        = "gpu"
  }
  node_taints = [
    "nvidia.com/gpu=present:NoSchedule",
    "kubernetes.azure.com/scalesetpriority=spot:NoSchedule",
  ]
  zones = [
    "1",
    "3",
  ]
  tags = local.tags
}

resource "azurerm_kubernetes_cluster_node_pool" "t4" {
  name                        = "t4"
  kubernetes_cluster_id       = azurerm_kubernetes_cluster.main.id
  mode                        = "User"
  vm_size                     = "Standard_NC64as_T4_v3"
  auto_scaling_enabled        = true
  min_count                   = 1
  max_count                   = 2
  gpu_driver                  = "Install"
  temporary_name_for_rotation = "ta2f1a68a"
  upgrade_settings {
    max_surge = "10%"
  }
  node_labels = {
    "acme.example/old" = "yes"
    "tenon.dev/pool"   = "t4"
  }
  node_taints = [
    "old=yes:NoExecute",
    "nvidia.com/gpu=present:NoSchedule",
  ]
  tags = local.tags
}

resource "azurerm_kubernetes_cluster_node_pool" "units" {
  name                        = "units"
  kubernetes_cluster_id       = azurerm_kubernetes_cluster.main.id
  mode                        = "User"
  vm_size                     = "Standard_D4s_v5"
  auto_scaling_enabled        = true
  min_count                   = 0
  max_count                   = 8
  temporary_name_for_rotation = "tc981a30c"
  upgrade_settings {
    max_surge = "10%"
  }
  node_labels = {
    "tenon.dev/pool" = "units"
  }
  tags = local.tags
}
