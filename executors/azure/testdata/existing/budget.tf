# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_consumption_budget_resource_group" "month" {
  name              = "acme-ml-33c584fc"
  resource_group_id = local.group_id
  amount            = 2000.50
  time_grain        = "Monthly"
  time_period {
    start_date = formatdate("YYYY-MM-01'T'00:00:00'Z'", plantimestamp())
  }
  filter {
    tag {
      name   = "tenon-environment"
      values = ["notify"]
    }
  }
  notification {
    operator       = "GreaterThanOrEqualTo"
    threshold      = 80
    threshold_type = "Actual"
    contact_groups = ["/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/acme-ml/providers/Microsoft.Insights/actionGroups/ml"]
  }
  notification {
    operator       = "GreaterThanOrEqualTo"
    threshold      = 100
    threshold_type = "Actual"
    contact_groups = ["/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/acme-ml/providers/Microsoft.Insights/actionGroups/ml"]
  }
  notification {
    operator       = "GreaterThanOrEqualTo"
    threshold      = 100
    threshold_type = "Forecasted"
    contact_groups = ["/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/acme-ml/providers/Microsoft.Insights/actionGroups/ml"]
  }
  # It begins in the month in which it is made.
  lifecycle {
    ignore_changes = [time_period]
  }
}
