# Written by `tenon compile --format=terraform`, which replaces this file.

variable "project" {
  description = "Id of the project of all resources."
  type        = string
  default     = "acme-ml-1"
}

variable "region" {
  description = "Region of all resources."
  type        = string
  default     = "europe-west3"
}

variable "log_retention_days" {
  description = "Days after which log entries are removed."
  type        = number
  default     = 30
}

locals {
  labels = {
    tenon-environment = "notify"
    tenon-system      = "notify"
  }
}
