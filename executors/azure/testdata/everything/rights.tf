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
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/deployments-api/code/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/deployments-api/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/models-late-register/out/model/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/deployments-api/code/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/deployments-api/notes/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/models-late-register/out/model/'))"
}

resource "azurerm_role_assignment" "write-deployments-api" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.deployments-api.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/deployments-api/notes/')"
}

resource "azurerm_role_assignment" "pull-deployments-api" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.deployments-api.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_role_assignment" "secret-API_KEYS-deployments-api" {
  scope                = "${azurerm_key_vault.secrets.id}/secrets/API-KEYS-d416b83d"
  principal_id         = azurerm_user_assigned_identity.deployments-api.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "Key Vault Secrets User"
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
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/features-late/code/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-flights/out/out/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-weather/out/out/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/features-late/code/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/sources-flights/out/out/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/sources-weather/out/out/'))"
}

resource "azurerm_role_assignment" "write-features-late" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.features-late.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/features-late/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/features-late/out/out/')"
}

resource "azurerm_role_assignment" "pull-features-late" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.features-late.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
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
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/features-late/out/out/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/models-late-train/code/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/features-late/out/out/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/models-late-train/code/'))"
}

resource "azurerm_role_assignment" "write-models-late-train" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.models-late-train.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/models-late-train/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/models-late-train/out/model/')"
}

resource "azurerm_role_assignment" "pull-models-late-train" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.models-late-train.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_user_assigned_identity" "sources-airports" {
  name                = "tenon-flights-prod-sources-airports"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "sources/airports"
  })
}

resource "azurerm_role_assignment" "read-sources-airports" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.sources-airports.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-airports/code/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/sources-airports/code/'))"
}

resource "azurerm_role_assignment" "write-sources-airports" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.sources-airports.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-airports/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-airports/out/out/')"
}

resource "azurerm_role_assignment" "pull-sources-airports" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.sources-airports.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_user_assigned_identity" "sources-flights" {
  name                = "tenon-flights-prod-sources-flights"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "sources/flights"
  })
}

resource "azurerm_role_assignment" "read-sources-flights" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.sources-flights.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-flights/code/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/sources-flights/code/'))"
}

resource "azurerm_role_assignment" "write-sources-flights" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.sources-flights.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-flights/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-flights/out/out/')"
}

resource "azurerm_role_assignment" "pull-sources-flights" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.sources-flights.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_role_assignment" "secret-FLIGHTS_DSN-sources-flights" {
  scope                = "${azurerm_key_vault.secrets.id}/secrets/FLIGHTS-DSN-18573c54"
  principal_id         = azurerm_user_assigned_identity.sources-flights.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "Key Vault Secrets User"
}

resource "azurerm_user_assigned_identity" "sources-weather" {
  name                = "tenon-flights-prod-sources-weather"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "sources/weather"
  })
}

resource "azurerm_role_assignment" "read-sources-weather" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.sources-weather.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.read.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-weather/code/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-weather/files/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/sources-weather/code/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/sources-weather/files/'))"
}

resource "azurerm_role_assignment" "write-sources-weather" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.sources-weather.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-weather/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/sources-weather/out/out/')"
}

resource "azurerm_role_assignment" "pull-sources-weather" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.sources-weather.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_user_assigned_identity" "steps-Report_2-d4032937" {
  name                = "tenon-flights-prod-steps-Report_2-d4032937"
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
  condition          = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/features-late/out/out/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/steps-Report_2-d4032937/code/')) AND ((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/features-late/out/out/' OR @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'tenon/flights/prod/units/steps-Report_2-d4032937/code/'))"
}

resource "azurerm_role_assignment" "write-steps-Report_2-d4032937" {
  scope              = local.container_id
  principal_id       = azurerm_user_assigned_identity.steps-Report_2-d4032937.principal_id
  principal_type     = "ServicePrincipal"
  role_definition_id = azurerm_role_definition.write.role_definition_resource_id
  condition_version  = "2.0"
  condition          = "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/steps-Report_2-d4032937/notes/' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'tenon/flights/prod/units/steps-Report_2-d4032937/out/out/')"
}

resource "azurerm_role_assignment" "pull-steps-Report_2-d4032937" {
  scope                = azurerm_container_registry.images.id
  principal_id         = azurerm_user_assigned_identity.steps-Report_2-d4032937.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
}

resource "azurerm_role_assignment" "secret-REPORT_TOKEN-steps-Report_2-d4032937" {
  scope                = "${azurerm_key_vault.secrets.id}/secrets/REPORT-TOKEN-85689a18"
  principal_id         = azurerm_user_assigned_identity.steps-Report_2-d4032937.principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "Key Vault Secrets User"
}
