# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_role_definition" "read" {
  # Names of roles are unique in a tenant.
  name              = "Reads artifacts of acmeml33c584fcb4dd9536"
  description       = "Reads artifacts of notify, as conditions allow."
  scope             = local.group_id
  assignable_scopes = [local.group_id]
  permissions {
    data_actions = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"]
  }
}

resource "azurerm_role_definition" "write" {
  # Names of roles are unique in a tenant.
  name              = "Writes artifacts of acmeml33c584fcb4dd9536"
  description       = "Writes artifacts of notify, as conditions allow."
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
  name                = "acme-ml-33c584fc-deployments-api"
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
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/units/deployments-api/code/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/units/models-late-register/out/model/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/_/units/deployments-api/code/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/_/units/models-late-register/out/model/'))"
}

resource "azurerm_role_assignment" "pull-deployments-api" {
  scope                = data.azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.deployments-api.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_user_assigned_identity" "steps-count" {
  name                = "acme-ml-33c584fc-steps-count"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "steps/count"
  })
}

resource "azurerm_role_assignment" "read-steps-count" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.steps-count.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/units/steps-count/code/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/_/units/steps-count/code/'))"
}

resource "azurerm_role_assignment" "write-steps-count" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.steps-count.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/units/steps-count/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/units/steps-count/out/out/')"
}

resource "azurerm_role_assignment" "pull-steps-count" {
  scope                = data.azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.steps-count.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_user_assigned_identity" "steps-post" {
  name                = "acme-ml-33c584fc-steps-post"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "steps/post"
  })
}

resource "azurerm_role_assignment" "read-steps-post" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.steps-post.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/units/steps-post/code/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/_/units/steps-post/code/'))"
}

resource "azurerm_role_assignment" "write-steps-post" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.steps-post.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/units/steps-post/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/units/steps-post/out/out/')"
}

resource "azurerm_role_assignment" "pull-steps-post" {
  scope                = data.azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.steps-post.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_role_assignment" "secret-TOKEN-steps-post" {
  scope                = "/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/acme-ml/providers/Microsoft.KeyVault/vaults/acme-ml/secrets/token"
  principal_id         = azurerm_user_assigned_identity.steps-post.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "Key Vault Secrets User"
}
