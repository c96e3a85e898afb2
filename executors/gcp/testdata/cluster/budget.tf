# Written by `tenon compile --format=terraform`, which replaces this file.

data "google_project" "current" {
}

resource "google_billing_budget" "month" {
  billing_account = "01ABCD-23EF45-678901"
  display_name    = "flights/prod"
  budget_filter {
    projects = ["projects/${data.google_project.current.number}"]
    labels = {
      tenon-environment = "flights-prod"
    }
    calendar_period = "MONTH"
  }
  amount {
    specified_amount {
      currency_code = "EUR"
      units         = "2000"
    }
  }
  threshold_rules {
    threshold_percent = 0.8
    spend_basis       = "CURRENT_SPEND"
  }
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "CURRENT_SPEND"
  }
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }
  depends_on = [google_project_service.apis]
}
