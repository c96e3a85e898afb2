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

resource "google_service_account" "deployments-api" {
  account_id   = "tenon-flights-prod-de-aa837325"
  display_name = "deployments/api of flights/prod"
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

resource "google_service_account" "features-late" {
  account_id   = "tenon-flights-prod-fe-3d285158"
  display_name = "features/late of flights/prod"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "features-late-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.features-late.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/features-late/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/features-late/code/\") || resource.name.startsWith(\"${local.objects}/units/sources-flights/out/out/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/sources-flights/out/out/\") || resource.name.startsWith(\"${local.objects}/units/sources-weather/out/out/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/sources-weather/out/out/\")"
  }
}

resource "google_storage_bucket_iam_member" "features-late-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = google_service_account.features-late.member
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/features-late/notes/\") || resource.name.startsWith(\"${local.objects}/units/features-late/out/out/\")"
  }
}

resource "google_service_account" "models-late-train" {
  account_id   = "tenon-flights-prod-mo-b9340ff8"
  display_name = "models/late/train of flights/prod"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "models-late-train-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.models-late-train.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/features-late/out/out/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/features-late/out/out/\") || resource.name.startsWith(\"${local.objects}/units/models-late-train/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/models-late-train/code/\")"
  }
}

resource "google_storage_bucket_iam_member" "models-late-train-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = google_service_account.models-late-train.member
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/models-late-train/notes/\") || resource.name.startsWith(\"${local.objects}/units/models-late-train/out/model/\")"
  }
}

resource "google_service_account" "sources-airports" {
  account_id   = "tenon-flights-prod-so-dbd26bb9"
  display_name = "sources/airports of flights/prod"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "sources-airports-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.sources-airports.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/sources-airports/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/sources-airports/code/\")"
  }
}

resource "google_storage_bucket_iam_member" "sources-airports-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = google_service_account.sources-airports.member
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/sources-airports/notes/\") || resource.name.startsWith(\"${local.objects}/units/sources-airports/out/out/\")"
  }
}

resource "google_service_account" "sources-flights" {
  account_id   = "tenon-flights-prod-so-f687a3ab"
  display_name = "sources/flights of flights/prod"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "sources-flights-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.sources-flights.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/sources-flights/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/sources-flights/code/\")"
  }
}

resource "google_storage_bucket_iam_member" "sources-flights-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = google_service_account.sources-flights.member
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/sources-flights/notes/\") || resource.name.startsWith(\"${local.objects}/units/sources-flights/out/out/\")"
  }
}

resource "google_secret_manager_secret_iam_member" "sources-flights-FLIGHTS_DSN" {
  secret_id = google_secret_manager_secret.FLIGHTS_DSN.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.sources-flights.member
}

resource "google_service_account" "sources-weather" {
  account_id   = "tenon-flights-prod-so-59c3783d"
  display_name = "sources/weather of flights/prod"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "sources-weather-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.sources-weather.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/sources-weather/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/sources-weather/code/\") || resource.name.startsWith(\"${local.objects}/units/sources-weather/files/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/sources-weather/files/\")"
  }
}

resource "google_storage_bucket_iam_member" "sources-weather-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = google_service_account.sources-weather.member
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/sources-weather/notes/\") || resource.name.startsWith(\"${local.objects}/units/sources-weather/out/out/\")"
  }
}

resource "google_service_account" "steps-Report_2-d4032937" {
  account_id   = "tenon-flights-prod-st-ed6ee92c"
  display_name = "steps/Report.2 of flights/prod"
  depends_on   = [google_project_service.apis]
}

resource "google_storage_bucket_iam_member" "steps-Report_2-d4032937-read-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.read.id
  member = google_service_account.steps-Report_2-d4032937.member
  condition {
    title      = "read-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/features-late/out/out/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/features-late/out/out/\") || resource.name.startsWith(\"${local.objects}/units/steps-Report_2-d4032937/code/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${local.root}/units/steps-Report_2-d4032937/code/\")"
  }
}

resource "google_storage_bucket_iam_member" "steps-Report_2-d4032937-write-0" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.write.id
  member = google_service_account.steps-Report_2-d4032937.member
  condition {
    title      = "write-0"
    expression = "resource.name.startsWith(\"${local.objects}/units/steps-Report_2-d4032937/notes/\") || resource.name.startsWith(\"${local.objects}/units/steps-Report_2-d4032937/out/out/\")"
  }
}

resource "google_secret_manager_secret_iam_member" "steps-Report_2-d4032937-REPORT_TOKEN" {
  secret_id = google_secret_manager_secret.REPORT_TOKEN.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.steps-Report_2-d4032937.member
}
