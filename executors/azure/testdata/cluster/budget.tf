# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_consumption_budget_resource_group" "month" {
  name              = "tenon-flights-prod"
  resource_group_id = local.group_id
  amount            = 2000.00
  time_grain        = "Monthly"
  time_period {
    start_date = formatdate("YYYY-MM-01'T'00:00:00'Z'", plantimestamp())
  }
  filter {
    tag {
      name   = "tenon-environment"
      values = ["flights/prod"]
    }
  }
  notification {
    operator       = "GreaterThanOrEqualTo"
    threshold      = 80
    threshold_type = "Actual"
    contact_roles  = ["Owner"]
  }
  notification {
    operator       = "GreaterThanOrEqualTo"
    threshold      = 100
    threshold_type = "Actual"
    contact_roles  = ["Owner"]
  }
  notification {
    operator       = "GreaterThanOrEqualTo"
    threshold      = 100
    threshold_type = "Forecasted"
    contact_roles  = ["Owner"]
  }
  # It begins in the month in which it is made.
  lifecycle {
    ignore_changes = [time_period]
  }
}
