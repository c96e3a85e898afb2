# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_container_app" "deployments-api" {
  count                        = contains(keys(var.images), "deployments/api") ? 1 : 0
  name                         = "acme-ml-33c584fc-deployments-api"
  resource_group_name          = local.group
  container_app_environment_id = azurerm_container_app_environment.open.id
  revision_mode                = "Single"
  workload_profile_name        = "Consumption"
  tags = merge(local.tags, {
    tenon-unit = "deployments/api"
  })
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.deployments-api.id]
  }
  registry {
    server   = data.azurerm_container_registry.images.login_server
    identity = azurerm_user_assigned_identity.deployments-api.id
  }
  ingress {
    external_enabled = false
    target_port      = 8080
    traffic_weight {
      latest_revision = true
      percentage      = 100
    }
  }
  template {
    min_replicas = 1
    max_replicas = 1
    container {
      name   = "unit"
      image  = var.images["deployments/api"]
      cpu    = 1
      memory = "2Gi"
      readiness_probe {
        transport = "HTTP"
        port      = 8080
        path      = "/readyz"
      }
    }
  }
  depends_on = [azurerm_role_assignment.pull-deployments-api]
}
