# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_security_group" "closed" {
  name        = "acme-ml-closed"
  description = "Jobs of notify, closed"
  vpc_id      = "vpc-0a"
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "open" {
  name        = "acme-ml-open"
  description = "Jobs of notify, open"
  vpc_id      = "vpc-0a"
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}
