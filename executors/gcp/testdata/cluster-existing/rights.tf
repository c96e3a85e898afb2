# Written by `tenon compile --format=terraform`, which replaces this file.

data "google_project" "current" {
}

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

resource "google_storage_bucket_iam_member" "steps-Report_2-d4032937-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = "principal://iam.googleapis.com/projects/${data.google_project.current.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog/subject/ns/ml/sa/tenon-steps-report-2-d4032937-01b8f195"
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/cas/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/cas/\") || resource.name.startsWith(\"${local.objects}/notes/runs/steps-Report_2-d4032937/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/notes/runs/steps-Report_2-d4032937/\")"
  }
  depends_on = [google_container_cluster.main]
}

resource "google_storage_bucket_iam_member" "steps-Report_2-d4032937-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = "principal://iam.googleapis.com/projects/${data.google_project.current.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog/subject/ns/ml/sa/tenon-steps-report-2-d4032937-01b8f195"
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/cas/\") || resource.name.startsWith(\"${local.objects}/notes/runs/steps-Report_2-d4032937/\")"
  }
  depends_on = [google_container_cluster.main]
}
