# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_security_group" "open" {
  name        = "tenon-shop-open"
  description = "Jobs of shop, open"
  vpc_id      = "vpc-0a0a0a0a"
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}
