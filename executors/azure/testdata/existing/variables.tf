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
  tags = {
    tenon-environment = "notify"
    tenon-system      = "notify"
  }
}
