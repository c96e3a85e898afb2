# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_kubernetes_cluster_node_pool" "cpu" {
  name                        = "cpu"
  kubernetes_cluster_id       = azurerm_kubernetes_cluster.main.id
  mode                        = "User"
  vm_size                     = "Standard_D8s_v5"
  auto_scaling_enabled        = true
  min_count                   = 0
  max_count                   = 4
  temporary_name_for_rotation = "t68ab84f7"
  upgrade_settings {
    max_surge = "10%"
  }
  node_labels = {
    "tenon.dev/pool" = "cpu"
  }
  vnet_subnet_id = "/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/acme-ml/providers/Microsoft.Network/virtualNetworks/ml/subnets/nodes"
  tags           = local.tags
}
