# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_role_definition" "read" {
  # Names of roles are unique in a tenant.
  name              = "Reads artifacts of tenonnotifyprod0a612e6f"
  description       = "Reads artifacts of notify/prod, as conditions allow."
  scope             = local.group_id
  assignable_scopes = [local.group_id]
  permissions {
    data_actions = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"]
  }
}

resource "azurerm_role_definition" "write" {
  # Names of roles are unique in a tenant.
  name              = "Writes artifacts of tenonnotifyprod0a612e6f"
  description       = "Writes artifacts of notify/prod, as conditions allow."
  scope             = local.group_id
  assignable_scopes = [local.group_id]
  permissions {
    data_actions = [
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
    ]
  }
}

resource "azurerm_user_assigned_identity" "deployments-api" {
  name                = "tenon-notify-prod-deployments-api"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "deployments/api"
  })
}

resource "azurerm_role_assignment" "read-deployments-api" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.deployments-api.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/prod/units/deployments-api/code/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/prod/units/models-late-register/out/model/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/prod/units/deployments-api/code/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/prod/units/models-late-register/out/model/'))"
}

resource "azurerm_role_assignment" "pull-deployments-api" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.deployments-api.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_user_assigned_identity" "models-large-train" {
  name                = "tenon-notify-prod-models-large-train"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "models/large/train"
  })
}

resource "azurerm_role_assignment" "read-models-large-train" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.models-large-train.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/prod/units/models-large-train/code/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/prod/units/models-large-train/code/'))"
}

resource "azurerm_role_assignment" "write-models-large-train" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.models-large-train.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/prod/units/models-large-train/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/prod/units/models-large-train/out/out/')"
}

resource "azurerm_role_assignment" "pull-models-large-train" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.models-large-train.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_user_assigned_identity" "models-late-train" {
  name                = "tenon-notify-prod-models-late-train"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "models/late/train"
  })
}

resource "azurerm_role_assignment" "read-models-late-train" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.models-late-train.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/prod/units/models-late-train/code/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/prod/units/models-late-train/code/'))"
}

resource "azurerm_role_assignment" "write-models-late-train" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.models-late-train.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/prod/units/models-late-train/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/prod/units/models-late-train/out/out/')"
}

resource "azurerm_role_assignment" "pull-models-late-train" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.models-late-train.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}
