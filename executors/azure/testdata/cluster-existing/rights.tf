# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_role_definition" "read" {
  # Names of roles are unique in a tenant.
  name              = "Reads artifacts of acmemlb6dc57d1"
  description       = "Reads artifacts of notify, as conditions allow."
  scope             = local.group_id
  assignable_scopes = [local.group_id]
  permissions {
    data_actions = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"]
  }
}

resource "azurerm_role_definition" "write" {
  # Names of roles are unique in a tenant.
  name              = "Writes artifacts of acmemlb6dc57d1"
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

resource "azurerm_user_assigned_identity" "steps-Report_2-d4032937" {
  name                = "acme-ml-steps-Report_2-d4032937"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "steps/Report.2"
  })
}

resource "azurerm_role_assignment" "read-steps-Report_2-d4032937" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.steps-Report_2-d4032937.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/cas/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/notes/runs/steps-Report_2-d4032937/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/_/cas/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/notify/_/notes/runs/steps-Report_2-d4032937/'))"
}

resource "azurerm_role_assignment" "write-steps-Report_2-d4032937" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.steps-Report_2-d4032937.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/cas/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/notify/_/notes/runs/steps-Report_2-d4032937/')"
}

resource "azurerm_federated_identity_credential" "steps-Report_2-d4032937" {
  name                = "tenon"
  resource_group_name = local.group
  parent_id           = azurerm_user_assigned_identity.steps-Report_2-d4032937.id
  audience            = ["api://AzureADTokenExchange"]
  issuer              = azurerm_kubernetes_cluster.main.oidc_issuer_url
  subject             = "system:serviceaccount:ml:tenon-steps-report-2-d4032937-01b8f195"
}
