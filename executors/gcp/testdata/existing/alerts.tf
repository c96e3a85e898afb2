# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_monitoring_alert_policy" "slos-api-availability-1h" {
  display_name          = "notify: slos/api availability-1h"
  combiner              = "OR"
  notification_channels = ["projects/acme-ml-1/notificationChannels/1"]
  user_labels = {
    tenon-unit = "slos-api"
  }
  conditions {
    display_name = "2% of the error budget of deployments/api for 7d is used up in 1h"
    condition_prometheus_query_language {
      query               = "sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\",response_code_class=\"5xx\"}[3600s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\"}[3600s])) > 0.336 and sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\",response_code_class=\"5xx\"}[300s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\"}[300s])) > 0.336"
      duration            = "0s"
      evaluation_interval = "60s"
    }
  }
  documentation {
    content = "2% of the error budget of deployments/api for 7d is used up in 1h"
  }
  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "slos-api-availability-6h" {
  display_name          = "notify: slos/api availability-6h"
  combiner              = "OR"
  notification_channels = ["projects/acme-ml-1/notificationChannels/1"]
  user_labels = {
    tenon-unit = "slos-api"
  }
  conditions {
    display_name = "5% of the error budget of deployments/api for 7d is used up in 6h"
    condition_prometheus_query_language {
      query               = "sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\",response_code_class=\"5xx\"}[21600s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\"}[21600s])) > 0.14 and sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\",response_code_class=\"5xx\"}[1800s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\"}[1800s])) > 0.14"
      duration            = "0s"
      evaluation_interval = "60s"
    }
  }
  documentation {
    content = "5% of the error budget of deployments/api for 7d is used up in 6h"
  }
  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "slos-api-availability-24h" {
  display_name          = "notify: slos/api availability-24h"
  combiner              = "OR"
  notification_channels = ["projects/acme-ml-1/notificationChannels/1"]
  user_labels = {
    tenon-unit = "slos-api"
  }
  conditions {
    display_name = "10% of the error budget of deployments/api for 7d is used up in 24h"
    condition_prometheus_query_language {
      query               = "sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\",response_code_class=\"5xx\"}[86400s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\"}[86400s])) > 0.07 and sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\",response_code_class=\"5xx\"}[7200s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"acme-ml-deployments-api\"}[7200s])) > 0.07"
      duration            = "0s"
      evaluation_interval = "60s"
    }
  }
  documentation {
    content = "10% of the error budget of deployments/api for 7d is used up in 24h"
  }
  depends_on = [google_project_service.apis]
}
