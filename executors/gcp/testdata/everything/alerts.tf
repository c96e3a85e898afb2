# Written by `tenon compile --format=terraform`, which replaces this file.

resource "google_monitoring_alert_policy" "slos-api-availability-1h" {
  display_name          = "flights/prod: slos/api availability-1h"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email-0a71cb6c.id]
  user_labels = {
    tenon-unit = "slos-api"
  }
  conditions {
    display_name = "2% of the error budget of deployments/api for 30d is used up in 1h"
    condition_prometheus_query_language {
      query               = "sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\",response_code_class=\"5xx\"}[3600s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\"}[3600s])) > 0.0144 and sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\",response_code_class=\"5xx\"}[300s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\"}[300s])) > 0.0144"
      duration            = "0s"
      evaluation_interval = "60s"
    }
  }
  documentation {
    content = "2% of the error budget of deployments/api for 30d is used up in 1h"
  }
  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "slos-api-availability-6h" {
  display_name          = "flights/prod: slos/api availability-6h"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email-0a71cb6c.id]
  user_labels = {
    tenon-unit = "slos-api"
  }
  conditions {
    display_name = "5% of the error budget of deployments/api for 30d is used up in 6h"
    condition_prometheus_query_language {
      query               = "sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\",response_code_class=\"5xx\"}[21600s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\"}[21600s])) > 0.006 and sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\",response_code_class=\"5xx\"}[1800s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\"}[1800s])) > 0.006"
      duration            = "0s"
      evaluation_interval = "60s"
    }
  }
  documentation {
    content = "5% of the error budget of deployments/api for 30d is used up in 6h"
  }
  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "slos-api-availability-24h" {
  display_name          = "flights/prod: slos/api availability-24h"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email-0a71cb6c.id]
  user_labels = {
    tenon-unit = "slos-api"
  }
  conditions {
    display_name = "10% of the error budget of deployments/api for 30d is used up in 24h"
    condition_prometheus_query_language {
      query               = "sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\",response_code_class=\"5xx\"}[86400s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\"}[86400s])) > 0.003 and sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\",response_code_class=\"5xx\"}[7200s])) / sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\"}[7200s])) > 0.003"
      duration            = "0s"
      evaluation_interval = "60s"
    }
  }
  documentation {
    content = "10% of the error budget of deployments/api for 30d is used up in 24h"
  }
  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "slos-api-latency-p99" {
  display_name          = "flights/prod: slos/api latency-p99"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email-0a71cb6c.id]
  user_labels = {
    tenon-unit = "slos-api"
  }
  conditions {
    display_name = "p99 of the time that deployments/api takes is above 50ms for 15 minutes"
    condition_prometheus_query_language {
      query               = "histogram_quantile(0.99, sum by (le) (rate(run_googleapis_com:request_latencies_bucket{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\"}[5m]))) > 50"
      duration            = "900s"
      evaluation_interval = "60s"
    }
  }
  documentation {
    content = "p99 of the time that deployments/api takes is above 50ms for 15 minutes"
  }
  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "slos-api-latency-p99_9" {
  display_name          = "flights/prod: slos/api latency-p99_9"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email-0a71cb6c.id]
  user_labels = {
    tenon-unit = "slos-api"
  }
  conditions {
    display_name = "p99.9 of the time that deployments/api takes is above 1s for 15 minutes"
    condition_prometheus_query_language {
      query               = "histogram_quantile(0.999, sum by (le) (rate(run_googleapis_com:request_latencies_bucket{monitored_resource=\"cloud_run_revision\",service_name=\"tenon-flights-prod-deployments-api\"}[5m]))) > 1000"
      duration            = "900s"
      evaluation_interval = "60s"
    }
  }
  documentation {
    content = "p99.9 of the time that deployments/api takes is above 1s for 15 minutes"
  }
  depends_on = [google_project_service.apis]
}

resource "google_monitoring_notification_channel" "email-0a71cb6c" {
  display_name = "ml@acme.example"
  type         = "email"
  labels = {
    email_address = "ml@acme.example"
  }
  depends_on = [google_project_service.apis]
}
