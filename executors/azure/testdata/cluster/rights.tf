# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_role_definition" "read" {
  # Names of roles are unique in a tenant.
  name              = "Reads artifacts of tenonflightsproddc748e9a"
  description       = "Reads artifacts of flights/prod, as conditions allow."
  scope             = local.group_id
  assignable_scopes = [local.group_id]
  permissions {
    data_actions = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"]
  }
}

resource "azurerm_role_definition" "write" {
  # Names of roles are unique in a tenant.
  name              = "Writes artifacts of tenonflightsproddc748e9a"
  description       = "Writes artifacts of flights/prod, as conditions allow."
  scope             = local.group_id
  assignable_scopes = [local.group_id]
  permissions {
    data_actions = [
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
      "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
    ]
  }
}

resource "azurerm_role_definition" "remove" {
  # Names of roles are unique in a tenant.
  name              = "Removes checkpoints and old logs of tenonflightsproddc748e9a"
  description       = "Removes checkpoints and old logs of flights/prod, as conditions allow."
  scope             = local.group_id
  assignable_scopes = [local.group_id]
  permissions {
    data_actions = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete"]
  }
}

resource "azurerm_user_assigned_identity" "deployments-api" {
  name                = "tenon-flights-prod-deployments-api"
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
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/cas/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/notes/runs/deployments-api/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike 'tenon/flights/prod/kept/*/prod/deployments/api/requests/*')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/cas/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/notes/runs/deployments-api/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringLike 'tenon/flights/prod/kept/*/prod/deployments/api/requests/*'))"
}

resource "azurerm_role_assignment" "write-deployments-api" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.deployments-api.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/notes/runs/deployments-api/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike 'tenon/flights/prod/kept/*/prod/deployments/api/requests/*')"
}

resource "azurerm_role_assignment" "remove-deployments-api" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.deployments-api.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.remove.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'}) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike 'tenon/flights/prod/kept/*/prod/deployments/api/requests/*')"
}

resource "azurerm_federated_identity_credential" "deployments-api" {
  name                = "tenon"
  resource_group_name = local.group
  parent_id           = azurerm_user_assigned_identity.deployments-api.id
  audience            = ["api://AzureADTokenExchange"]
  issuer              = azurerm_kubernetes_cluster.main.oidc_issuer_url
  subject             = "system:serviceaccount:ml:tenon-deployments-api"
}

resource "azurerm_user_assigned_identity" "features-late" {
  name                = "tenon-flights-prod-features-late"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "features/late"
  })
}

resource "azurerm_role_assignment" "read-features-late" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.features-late.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/cas/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/notes/runs/features-late/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/cas/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/notes/runs/features-late/'))"
}

resource "azurerm_role_assignment" "write-features-late" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.features-late.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/cas/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/notes/runs/features-late/')"
}

resource "azurerm_federated_identity_credential" "features-late" {
  name                = "tenon"
  resource_group_name = local.group
  parent_id           = azurerm_user_assigned_identity.features-late.id
  audience            = ["api://AzureADTokenExchange"]
  issuer              = azurerm_kubernetes_cluster.main.oidc_issuer_url
  subject             = "system:serviceaccount:ml:tenon-features-late"
}

resource "azurerm_user_assigned_identity" "models-late-train" {
  name                = "tenon-flights-prod-models-late-train"
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
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/cas/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/notes/runs/models-late-train/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike 'tenon/flights/prod/kept/*/checkpoints/prod/models-late-train/*')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/cas/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/notes/runs/models-late-train/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringLike 'tenon/flights/prod/kept/*/checkpoints/prod/models-late-train/*'))"
}

resource "azurerm_role_assignment" "write-models-late-train" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.models-late-train.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/cas/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/notes/runs/models-late-train/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike 'tenon/flights/prod/kept/*/checkpoints/prod/models-late-train/*')"
}

resource "azurerm_role_assignment" "remove-models-late-train" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.models-late-train.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.remove.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'}) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike 'tenon/flights/prod/kept/*/checkpoints/prod/models-late-train/*')"
}

resource "azurerm_federated_identity_credential" "models-late-train" {
  name                = "tenon"
  resource_group_name = local.group
  parent_id           = azurerm_user_assigned_identity.models-late-train.id
  audience            = ["api://AzureADTokenExchange"]
  issuer              = azurerm_kubernetes_cluster.main.oidc_issuer_url
  subject             = "system:serviceaccount:ml:tenon-models-late-train"
}
