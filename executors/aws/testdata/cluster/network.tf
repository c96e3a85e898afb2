# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_vpc" "main" {
  cidr_block           = "10.40.0.0/16"
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags = {
    Name = "tenon-flights-prod"
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

resource "aws_subnet" "closed" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 4, 0 + count.index)
  availability_zone = data.aws_availability_zones.available.names[count.index]
  tags = {
    Name                              = "tenon-flights-prod-closed"
    "kubernetes.io/role/internal-elb" = "1"
  }
}

resource "aws_route_table" "closed" {
  vpc_id = aws_vpc.main.id
  tags = {
    Name = "tenon-flights-prod-closed"
  }
}

resource "aws_route_table_association" "closed" {
  count          = 2
  subnet_id      = aws_subnet.closed[count.index].id
  route_table_id = aws_route_table.closed.id
}

resource "aws_subnet" "open" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 4, 2 + count.index)
  availability_zone = data.aws_availability_zones.available.names[count.index]
  tags = {
    Name                     = "tenon-flights-prod-open"
    "kubernetes.io/role/elb" = "1"
  }
}

resource "aws_route_table" "open" {
  vpc_id = aws_vpc.main.id
  tags = {
    Name = "tenon-flights-prod-open"
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
    Name = "tenon-flights-prod"
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
  route_table_ids   = [aws_route_table.closed.id]
  tags = {
    Name = "tenon-flights-prod-s3"
  }
}

resource "aws_eip" "nat" {
  domain = "vpc"
  tags = {
    Name = "tenon-flights-prod-nat"
  }
}

resource "aws_nat_gateway" "main" {
  # One for both zones: without it, nodes cannot pull images that are not in ECR.
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.open[0].id
  depends_on    = [aws_internet_gateway.main]
  tags = {
    Name = "tenon-flights-prod"
  }
}

resource "aws_route" "nat" {
  route_table_id         = aws_route_table.closed.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.main.id
}
