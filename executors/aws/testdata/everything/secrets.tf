# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_secretsmanager_secret" "FLIGHTS_DSN" {
  name        = "tenon/flights/prod/FLIGHTS_DSN"
  description = "The value of FLIGHTS_DSN, which `aws secretsmanager put-secret-value` sets."
}

resource "aws_secretsmanager_secret" "REPORT_TOKEN" {
  name        = "tenon/flights/prod/REPORT_TOKEN"
  description = "The value of REPORT_TOKEN, which `aws secretsmanager put-secret-value` sets."
}
