# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_secretsmanager_secret" "TENON_STATE" {
  name        = "tenon/nightly/_/TENON_STATE"
  description = "The value of TENON_STATE, which `aws secretsmanager put-secret-value` sets."
}

resource "aws_secretsmanager_secret" "TOKEN" {
  name        = "tenon/nightly/_/TOKEN"
  description = "The value of TOKEN, which `aws secretsmanager put-secret-value` sets."
}
