resource "aws_vpc" "main" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "a" {
  vpc_id            = aws_vpc.main.id
  cidr_block        = "10.0.1.0/24"
  availability_zone = "${var.region}a"
}

resource "aws_subnet" "b" {
  vpc_id            = aws_vpc.main.id
  cidr_block        = "10.0.2.0/24"
  availability_zone = "${var.region}b"
}

resource "aws_lb" "public" {
  name    = "${local.name}-public"
  subnets = [aws_subnet.a.id, aws_subnet.b.id]
}

resource "aws_lb" "internal" {
  name     = "${local.name}-internal"
  internal = true
  subnets  = [aws_subnet.a.id, aws_subnet.b.id]
}

resource "aws_lb_listener" "public" {
  load_balancer_arn = aws_lb.public.arn
  port              = 443
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.api.arn
  }
}

resource "aws_lb_listener" "internal" {
  load_balancer_arn = aws_lb.internal.arn
  port              = 80
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.payments.arn
  }
}

resource "aws_lb_target_group" "api" {
  name   = "api"
  port   = 8080
  vpc_id = aws_vpc.main.id
}

resource "aws_lb_target_group" "payments" {
  name   = "payments"
  port   = 8080
  vpc_id = aws_vpc.main.id
}
