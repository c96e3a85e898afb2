# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_project_iam_custom_role" "read" {
  role_id = "tenon_flights_prod_read"
  title   = "Reads artifacts of flights/prod"
  permissions = [
    "storage.objects.get",
    "storage.objects.list",
  ]
  depends_on = [google_project_service.apis]
}

resource "google_project_iam_custom_role" "write" {
  role_id = "tenon_flights_prod_write"
  title   = "Writes artifacts of flights/prod"
  permissions = [
    "storage.objects.create",
    "storage.objects.delete",
  ]
  depends_on = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "deployments-api-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = "principal://iam.googleapis.com/projects/${data.google_project.current.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog/subject/ns/ml/sa/tenon-deployments-api"
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/cas/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/cas/\") || resource.name.startsWith(\"${local.objects}/notes/runs/deployments-api/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/notes/runs/deployments-api/\") || resource.name.extract(\"${local.objects}/kept/{lineage}/prod/deployments/api/requests/\") != \"\" || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/kept/\")"
  }
  depends_on = [google_container_cluster.main]
}

resource "google_storage_bucket_iam_member" "deployments-api-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = "principal://iam.googleapis.com/projects/${data.google_project.current.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog/subject/ns/ml/sa/tenon-deployments-api"
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/notes/runs/deployments-api/\") || resource.name.extract(\"${local.objects}/kept/{lineage}/prod/deployments/api/requests/\") != \"\""
  }
  depends_on = [google_container_cluster.main]
}

resource "google_storage_bucket_iam_member" "features-late-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = "principal://iam.googleapis.com/projects/${data.google_project.current.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog/subject/ns/ml/sa/tenon-features-late"
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/cas/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/cas/\") || resource.name.startsWith(\"${local.objects}/notes/runs/features-late/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/notes/runs/features-late/\")"
  }
  depends_on = [google_container_cluster.main]
}

resource "google_storage_bucket_iam_member" "features-late-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = "principal://iam.googleapis.com/projects/${data.google_project.current.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog/subject/ns/ml/sa/tenon-features-late"
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/cas/\") || resource.name.startsWith(\"${local.objects}/notes/runs/features-late/\")"
  }
  depends_on = [google_container_cluster.main]
}

resource "google_storage_bucket_iam_member" "models-late-train-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = "principal://iam.googleapis.com/projects/${data.google_project.current.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog/subject/ns/ml/sa/tenon-models-late-train"
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/cas/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/cas/\") || resource.name.startsWith(\"${local.objects}/notes/runs/models-late-train/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/notes/runs/models-late-train/\") || resource.name.extract(\"${local.objects}/kept/{lineage}/checkpoints/prod/models-late-train/\") != \"\" || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/kept/\")"
  }
  depends_on = [google_container_cluster.main]
}

resource "google_storage_bucket_iam_member" "models-late-train-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = "principal://iam.googleapis.com/projects/${data.google_project.current.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog/subject/ns/ml/sa/tenon-models-late-train"
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/cas/\") || resource.name.startsWith(\"${local.objects}/notes/runs/models-late-train/\") || resource.name.extract(\"${local.objects}/kept/{lineage}/checkpoints/prod/models-late-train/\") != \"\""
  }
  depends_on = [google_container_cluster.main]
}
