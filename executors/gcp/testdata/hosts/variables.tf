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

locals {
  labels = {
    tenon-environment = "hosts"
    tenon-system      = "hosts"
  }
}
