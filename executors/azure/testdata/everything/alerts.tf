# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_monitor_diagnostic_setting" "requests" {
  name                       = "requests"
  target_resource_id         = azurerm_container_app_environment.open.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.log.id
  enabled_log {
    category = "ContainerAppHTTPLogs"
  }
}

resource "azurerm_monitor_action_group" "alerts" {
  name                = "tenon-flights-prod"
  resource_group_name = local.group
  short_name          = "tenon"
  email_receiver {
    name                    = "email-0a71cb6c"
    email_address           = "ml@acme.example"
    use_common_alert_schema = true
  }
  tags = local.tags
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "slos-api-availability-1h" {
  name                = "tenon-flights-prod-slos-api-availability-1h"
  description         = "2% of the error budget of deployments/api for 30d is used up in 1h"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "slos/api"
  })
  scopes                  = [azurerm_log_analytics_workspace.log.id]
  severity                = 2
  window_duration         = "PT1H"
  evaluation_frequency    = "PT5M"
  auto_mitigation_enabled = true
  # The table does not exist before the first request.
  skip_query_validation = true
  criteria {
    query                   = "ContainerAppHTTPLogs\n| where ContainerAppName == 'tenon-flights-prod-depl-aa837325'\n| extend failed = StatusCode >= 500, recent = TimeGenerated > ago(15m)\n| summarize requests = count(), failures = countif(failed), lately = countif(recent), failures_lately = countif(failed and recent)\n| where failures > 0.0144 * requests and failures_lately > 0.0144 * lately"
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0
    failing_periods {
      number_of_evaluation_periods             = 1
      minimum_failing_periods_to_trigger_alert = 1
    }
  }
  action {
    action_groups = [azurerm_monitor_action_group.alerts.id]
  }
  depends_on = [azurerm_monitor_diagnostic_setting.requests]
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "slos-api-availability-6h" {
  name                = "tenon-flights-prod-slos-api-availability-6h"
  description         = "5% of the error budget of deployments/api for 30d is used up in 6h"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "slos/api"
  })
  scopes                  = [azurerm_log_analytics_workspace.log.id]
  severity                = 2
  window_duration         = "PT6H"
  evaluation_frequency    = "PT5M"
  auto_mitigation_enabled = true
  # The table does not exist before the first request.
  skip_query_validation = true
  criteria {
    query                   = "ContainerAppHTTPLogs\n| where ContainerAppName == 'tenon-flights-prod-depl-aa837325'\n| extend failed = StatusCode >= 500, recent = TimeGenerated > ago(30m)\n| summarize requests = count(), failures = countif(failed), lately = countif(recent), failures_lately = countif(failed and recent)\n| where failures > 0.006 * requests and failures_lately > 0.006 * lately"
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0
    failing_periods {
      number_of_evaluation_periods             = 1
      minimum_failing_periods_to_trigger_alert = 1
    }
  }
  action {
    action_groups = [azurerm_monitor_action_group.alerts.id]
  }
  depends_on = [azurerm_monitor_diagnostic_setting.requests]
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "slos-api-availability-24h" {
  name                = "tenon-flights-prod-slos-api-availability-24h"
  description         = "10% of the error budget of deployments/api for 30d is used up in 24h"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "slos/api"
  })
  scopes                  = [azurerm_log_analytics_workspace.log.id]
  severity                = 2
  window_duration         = "P1D"
  evaluation_frequency    = "PT5M"
  auto_mitigation_enabled = true
  # The table does not exist before the first request.
  skip_query_validation = true
  criteria {
    query                   = "ContainerAppHTTPLogs\n| where ContainerAppName == 'tenon-flights-prod-depl-aa837325'\n| extend failed = StatusCode >= 500, recent = TimeGenerated > ago(120m)\n| summarize requests = count(), failures = countif(failed), lately = countif(recent), failures_lately = countif(failed and recent)\n| where failures > 0.003 * requests and failures_lately > 0.003 * lately"
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0
    failing_periods {
      number_of_evaluation_periods             = 1
      minimum_failing_periods_to_trigger_alert = 1
    }
  }
  action {
    action_groups = [azurerm_monitor_action_group.alerts.id]
  }
  depends_on = [azurerm_monitor_diagnostic_setting.requests]
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "slos-api-latency-p99" {
  name                = "tenon-flights-prod-slos-api-latency-p99"
  description         = "p99 of the time that deployments/api takes is above 50ms for 15 minutes"
  resource_group_name = local.group
  location            = var.location
  tags = merge(local.tags, {
    tenon-unit = "slos/api"
  })
  scopes                  = [azurerm_log_analytics_workspace.log.id]
  severity                = 2
  window_duration         = "PT15M"
  evaluation_frequency    = "PT5M"
  auto_mitigation_enabled = true
  # The table does not exist before the first request.
  skip_query_validation = true
  criteria {
    query                   = "ContainerAppHTTPLogs\n| where ContainerAppName == 'tenon-flights-prod-depl-aa837325'\n| summarize took = percentile(RequestDuration, 99)\n| where took > 50"
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0
    failing_periods {
      number_of_evaluation_periods             = 1
      minimum_failing_periods_to_trigger_alert = 1
    }
  }
  action {
    action_groups = [azurerm_monitor_action_group.alerts.id]
  }
  depends_on = [azurerm_monitor_diagnostic_setting.requests]
}
