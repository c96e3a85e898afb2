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

locals {
  tags = {
    "tenon:system"      = "shop"
    "tenon:environment" = "shop"
  }
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
}

data "aws_caller_identity" "current" {
}

data "aws_partition" "current" {
}
