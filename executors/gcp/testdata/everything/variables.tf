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

variable "images" {
  description = "Images by deployment, each with its digest. A service is made once its image is named."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for image in values(var.images) : can(regex("@sha256:[0-9a-f]{64}$", image))])
    error_message = "An image has the form REPOSITORY@sha256:DIGEST."
  }
  validation {
    condition     = length(setsubtract(keys(var.images), ["deployments/api"])) == 0
    error_message = "A key is the name of a unit that has one, such as \"deployments/api\"."
  }
}

locals {
  labels = {
    team              = "growth"
    tenon-environment = "flights-prod"
    tenon-system      = "flights"
  }
}
