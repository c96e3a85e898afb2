# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_vpc" "main" {
  cidr_block           = "10.40.0.0/16"
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags = {
    Name = "tenon-nightly"
  }
}

data "aws_availability_zones" "available" {
  state = "available"
  filter {
    # Zones that an account has to opt in to have no Fargate.
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

resource "aws_security_group" "closed" {
  name        = "tenon-nightly-closed"
  description = "Jobs of nightly, closed"
  vpc_id      = aws_vpc.main.id
  egress {
    protocol        = "-1"
    from_port       = 0
    to_port         = 0
    cidr_blocks     = [aws_vpc.main.cidr_block]
    prefix_list_ids = [aws_vpc_endpoint.s3.prefix_list_id]
  }
}

resource "aws_subnet" "closed" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 4, 0 + count.index)
  availability_zone = data.aws_availability_zones.available.names[count.index]
  tags = {
    Name = "tenon-nightly-closed"
  }
}

resource "aws_route_table" "closed" {
  vpc_id = aws_vpc.main.id
  tags = {
    Name = "tenon-nightly-closed"
  }
}

resource "aws_route_table_association" "closed" {
  count          = 2
  subnet_id      = aws_subnet.closed[count.index].id
  route_table_id = aws_route_table.closed.id
}

resource "aws_security_group" "open" {
  name        = "tenon-nightly-open"
  description = "Jobs of nightly, open"
  vpc_id      = aws_vpc.main.id
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_subnet" "open" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 4, 2 + count.index)
  availability_zone = data.aws_availability_zones.available.names[count.index]
  tags = {
    Name = "tenon-nightly-open"
  }
}

resource "aws_route_table" "open" {
  vpc_id = aws_vpc.main.id
  tags = {
    Name = "tenon-nightly-open"
  }
}

resource "aws_route_table_association" "open" {
  count          = 2
  subnet_id      = aws_subnet.open[count.index].id
  route_table_id = aws_route_table.open.id
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
  tags = {
    Name = "tenon-nightly"
  }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.open.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.main.id
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.main.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids = [
    aws_route_table.closed.id,
    aws_route_table.open.id,
  ]
  tags = {
    Name = "tenon-nightly-s3"
  }
}

resource "aws_security_group" "services" {
  name        = "tenon-nightly-services"
  description = "Services of AWS that jobs reach without the Internet"
  vpc_id      = aws_vpc.main.id
  ingress {
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = [aws_vpc.main.cidr_block]
  }
}

resource "aws_vpc_endpoint" "ecr_api" {
  vpc_id              = aws_vpc.main.id
  service_name        = "com.amazonaws.${var.region}.ecr.api"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.closed[*].id
  security_group_ids  = [aws_security_group.services.id]
  tags = {
    Name = "tenon-nightly-ecr.api"
  }
}

resource "aws_vpc_endpoint" "ecr_dkr" {
  vpc_id              = aws_vpc.main.id
  service_name        = "com.amazonaws.${var.region}.ecr.dkr"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.closed[*].id
  security_group_ids  = [aws_security_group.services.id]
  tags = {
    Name = "tenon-nightly-ecr.dkr"
  }
}

resource "aws_vpc_endpoint" "logs" {
  vpc_id              = aws_vpc.main.id
  service_name        = "com.amazonaws.${var.region}.logs"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.closed[*].id
  security_group_ids  = [aws_security_group.services.id]
  tags = {
    Name = "tenon-nightly-logs"
  }
}

resource "aws_vpc_endpoint" "secretsmanager" {
  vpc_id              = aws_vpc.main.id
  service_name        = "com.amazonaws.${var.region}.secretsmanager"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.closed[*].id
  security_group_ids  = [aws_security_group.services.id]
  tags = {
    Name = "tenon-nightly-secretsmanager"
  }
}
