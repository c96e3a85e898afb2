# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_secretsmanager_secret" "API_KEY" {
  name        = "tenon/shop/_/API_KEY"
  description = "The value of API_KEY, which `aws secretsmanager put-secret-value` sets."
}
