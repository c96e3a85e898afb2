# Written by `tenon compile --format=terraform`, which replaces this file.

variable "subscription" {
  description = "Id of the subscription of all resources."
  type        = string
  default     = "00000000-1111-2222-3333-444444444444"
}

variable "location" {
  description = "Location of all resources."
  type        = string
  default     = "westeurope"
}

variable "log_retention_days" {
  description = "Days after which the log is removed."
  type        = number
  default     = 30
}

locals {
  tags = {
    tenon-environment = "notify/prod"
    tenon-system      = "notify"
  }
}
