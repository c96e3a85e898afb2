# Written by `tenon compile --format=terraform`, which replaces this file.

variable "region" {
  description = "Region of all resources."
  type        = string
  default     = "eu-central-1"
}

variable "log_retention_days" {
  description = "Days after which log events are removed."
  type        = number
  default     = 30
}

variable "images" {
  description = "Images by unit, each with its digest. What runs a unit is made once its image is named."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for image in values(var.images) : can(regex("@sha256:[0-9a-f]{64}$", image))])
    error_message = "An image has the form REPOSITORY@sha256:DIGEST."
  }
  validation {
    condition     = length(setsubtract(keys(var.images), ["models/late/train"])) == 0
    error_message = "A key is the name of a unit that has one, such as \"models/late/train\"."
  }
}

locals {
  tags = {
    "tenon:system"      = "nightly"
    "tenon:environment" = "nightly"
  }
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
}

data "aws_caller_identity" "current" {
}

data "aws_partition" "current" {
}
