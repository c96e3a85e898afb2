# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_secretsmanager_secret" "KEY" {
  name        = "tenon/notify/_/KEY"
  description = "The value of KEY, which `aws secretsmanager put-secret-value` sets."
}
