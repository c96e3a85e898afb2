# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_security_group" "balancer" {
  name        = "tenon-shop-balancer"
  description = "Load balancer of shop"
  vpc_id      = "vpc-0a0a0a0a"
  ingress {
    protocol    = "tcp"
    from_port   = 80
    to_port     = 80
    cidr_blocks = ["10.0.0.0/8"]
  }
  egress {
    protocol    = "tcp"
    from_port   = 1
    to_port     = 65535
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "served" {
  name        = "tenon-shop-served"
  description = "Deployments of shop, which the load balancer reaches"
  vpc_id      = "vpc-0a0a0a0a"
  ingress {
    protocol        = "tcp"
    from_port       = 1
    to_port         = 65535
    security_groups = [aws_security_group.balancer.id]
  }
}

resource "aws_lb" "main" {
  name               = "tenon-shop"
  load_balancer_type = "application"
  internal           = true
  subnets = [
    "subnet-0a0a0a0a",
    "subnet-0b0b0b0b",
  ]
  security_groups            = [aws_security_group.balancer.id]
  drop_invalid_header_fields = true
}

resource "aws_lb_listener" "main" {
  load_balancer_arn = aws_lb.main.arn
  port              = 80
  protocol          = "HTTP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.deployments-api.arn
  }
}

resource "aws_lb_target_group" "deployments-api" {
  name                 = "tenon-shop-deployments-api"
  port                 = 80
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = "vpc-0a0a0a0a"
  deregistration_delay = 30
  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = 5
    timeout             = 4
    healthy_threshold   = 2
    unhealthy_threshold = 4
  }
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_ecs_cluster" "main" {
  # Its tags say to tenon apply where services are.
  name = "tenon-shop"
  tags = {
    "tenon:address"                 = aws_lb.main.dns_name
    "tenon:balancer"                = aws_lb.main.arn_suffix
    "tenon:subnets-open"            = "subnet-0c0c0c0c subnet-0d0d0d0d"
    "tenon:groups-open"             = "${aws_security_group.open.id} ${aws_security_group.served.id}"
    "tenon:targets-deployments-api" = aws_lb_target_group.deployments-api.arn
  }
}
