# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_project_iam_custom_role" "read" {
  role_id = "tenon_hosts_read"
  title   = "Reads artifacts of hosts"
  permissions = [
    "storage.objects.get",
    "storage.objects.list",
  ]
  depends_on = [google_project_service.apis]
}

resource "google_project_iam_custom_role" "write" {
  role_id = "tenon_hosts_write"
  title   = "Writes artifacts of hosts"
  permissions = [
    "storage.objects.create",
    "storage.objects.delete",
  ]
  depends_on = [google_project_service.apis]
}

resource "google_service_account" "deployments-api" {
  account_id   = "tenon-hosts-deployments-api"
  display_name = "deployments/api of hosts"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "deployments-api-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.deployments-api.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/deployments-api/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/deployments-api/code/\")"
  }
}
