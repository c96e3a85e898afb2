# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_security_group" "balancer" {
  name        = "tenon-shop-balancer"
  description = "Load balancer of shop"
  vpc_id      = aws_vpc.main.id
  ingress {
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["203.0.113.0/24"]
  }
  egress {
    protocol    = "tcp"
    from_port   = 1
    to_port     = 65535
    cidr_blocks = [aws_vpc.main.cidr_block]
  }
}

resource "aws_security_group" "served" {
  name        = "tenon-shop-served"
  description = "Deployments of shop, which the load balancer reaches"
  vpc_id      = aws_vpc.main.id
  ingress {
    protocol        = "tcp"
    from_port       = 1
    to_port         = 65535
    security_groups = [aws_security_group.balancer.id]
  }
}

resource "aws_lb" "main" {
  name                       = "tenon-shop"
  load_balancer_type         = "application"
  internal                   = false
  subnets                    = aws_subnet.open[*].id
  security_groups            = [aws_security_group.balancer.id]
  drop_invalid_header_fields = true
  depends_on                 = [aws_route.internet]
}

resource "aws_lb_listener" "main" {
  load_balancer_arn = aws_lb.main.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = "arn:aws:acm:eu-central-1:123456789012:certificate/0a0a0a0a-0b0b-0c0c-0d0d-0e0e0e0e0e0e"
  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "no deployment has this host"
      status_code  = "404"
    }
  }
}

resource "aws_lb_target_group" "deployments-api" {
  name                 = "tenon-shop-deployments-api"
  port                 = 80
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = aws_vpc.main.id
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

resource "aws_lb_target_group" "deployments-vision" {
  name                 = "tenon-shop-deployments-vision"
  port                 = 80
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = aws_vpc.main.id
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
    "tenon:unit" = "deployments/vision"
  }
}

resource "aws_lb_listener_rule" "deployments-api" {
  listener_arn = aws_lb_listener.main.arn
  priority     = 34809
  condition {
    host_header {
      values = ["api.acme.example"]
    }
  }
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.deployments-api.arn
  }
  tags = {
    "tenon:unit" = "deployments/api"
  }
}

resource "aws_lb_listener_rule" "deployments-vision" {
  listener_arn = aws_lb_listener.main.arn
  priority     = 18433
  condition {
    host_header {
      values = ["vision.acme.example"]
    }
  }
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.deployments-vision.arn
  }
  tags = {
    "tenon:unit" = "deployments/vision"
  }
}

resource "aws_ecs_cluster" "main" {
  # Its tags say to tenon apply where services are.
  name = "tenon-shop"
  tags = {
    "tenon:address"                    = aws_lb.main.dns_name
    "tenon:balancer"                   = aws_lb.main.arn_suffix
    "tenon:subnets-closed"             = "${aws_subnet.closed[0].id} ${aws_subnet.closed[1].id}"
    "tenon:groups-closed"              = "${aws_security_group.closed.id} ${aws_security_group.served.id}"
    "tenon:targets-deployments-api"    = aws_lb_target_group.deployments-api.arn
    "tenon:targets-deployments-vision" = aws_lb_target_group.deployments-vision.arn
  }
}
