# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_project_iam_custom_role" "read" {
  role_id = "acme_ml_read"
  title   = "Reads artifacts of notify"
  permissions = [
    "storage.objects.get",
    "storage.objects.list",
  ]
  depends_on = [google_project_service.apis]
}

resource "google_project_iam_custom_role" "write" {
  role_id = "acme_ml_write"
  title   = "Writes artifacts of notify"
  permissions = [
    "storage.objects.create",
    "storage.objects.delete",
  ]
  depends_on = [google_project_service.apis]
}

resource "google_service_account" "deployments-api" {
  account_id   = "acme-ml-deployments-api"
  display_name = "deployments/api of notify"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "deployments-api-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.deployments-api.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/deployments-api/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/deployments-api/code/\") || resource.name.startsWith(\"${local.objects}/units/models-late-register/out/model/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/models-late-register/out/model/\")"
  }
}

resource "google_service_account" "steps-count" {
  account_id   = "acme-ml-steps-count"
  display_name = "steps/count of notify"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "steps-count-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.steps-count.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/steps-count/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/steps-count/code/\")"
  }
}

resource "google_storage_bucket_iam_member" "steps-count-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = google_service_account.steps-count.member
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/steps-count/notes/\") || resource.name.startsWith(\"${local.objects}/units/steps-count/out/out/\")"
  }
}

resource "google_service_account" "steps-post" {
  account_id   = "acme-ml-steps-post"
  display_name = "steps/post of notify"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "steps-post-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.steps-post.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/steps-post/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/steps-post/code/\")"
  }
}

resource "google_storage_bucket_iam_member" "steps-post-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = google_service_account.steps-post.member
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/steps-post/notes/\") || resource.name.startsWith(\"${local.objects}/units/steps-post/out/out/\")"
  }
}

resource "google_secret_manager_secret_iam_member" "steps-post-KEY" {
  secret_id = google_secret_manager_secret.KEY.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.steps-post.member
}

resource "google_secret_manager_secret_iam_member" "steps-post-TOKEN" {
  secret_id = "projects/acme-ml-1/secrets/token"
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.steps-post.member
}
