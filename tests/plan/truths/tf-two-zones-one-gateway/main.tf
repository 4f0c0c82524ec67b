terraform {
  required_providers { aws = { source = "hashicorp/aws", version = "~> 5.0" } }
}

provider "aws" { region = "eu-central-1" }

resource "aws_vpc" "main" { cidr_block = "10.0.0.0/16" }

resource "aws_subnet" "app_a" {
  vpc_id            = aws_vpc.main.id
  cidr_block        = "10.0.1.0/24"
  availability_zone = "eu-central-1a"
}

resource "aws_subnet" "app_b" {
  vpc_id            = aws_vpc.main.id
  cidr_block        = "10.0.2.0/24"
  availability_zone = "eu-central-1b"
}

resource "aws_nat_gateway" "only" {
  subnet_id     = aws_subnet.app_a.id
  allocation_id = aws_eip.nat.id
}

resource "aws_eip" "nat" { domain = "vpc" }

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.only.id
  }
}

resource "aws_route_table_association" "a" {
  subnet_id      = aws_subnet.app_a.id
  route_table_id = aws_route_table.private.id
}

resource "aws_route_table_association" "b" {
  subnet_id      = aws_subnet.app_b.id
  route_table_id = aws_route_table.private.id
}

resource "aws_lb" "front" {
  load_balancer_type = "application"
  subnets            = [aws_subnet.app_a.id, aws_subnet.app_b.id]
}

resource "aws_lb_target_group" "api" {
  port     = 8080
  protocol = "HTTP"
  vpc_id   = aws_vpc.main.id
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.front.arn
  port              = 443
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.api.arn
  }
}

resource "aws_ecs_service" "api" {
  name          = "api"
  desired_count = 4
  network_configuration { subnets = [aws_subnet.app_a.id, aws_subnet.app_b.id] }
  load_balancer {
    target_group_arn = aws_lb_target_group.api.arn
    container_name   = "api"
    container_port   = 8080
  }
  task_definition = aws_ecs_task_definition.api.arn
}

resource "aws_ecs_task_definition" "api" {
  family = "api"
  container_definitions = jsonencode([{
    name  = "api"
    image = "registry.example/api:5"
    environment = [
      { name = "ACCOUNTS_DB", value = aws_db_instance.accounts.address },
      { name = "CATALOGUE_DB", value = aws_db_instance.catalogue.address },
      { name = "PAYMENT_URL", value = "https://api.payments.example/v3" },
    ]
  }])
}

resource "aws_db_instance" "accounts" {
  engine                  = "postgres"
  instance_class          = "db.r6g.xlarge"
  multi_az                = false
  backup_retention_period = 0
}

resource "aws_db_instance" "catalogue" {
  engine                  = "postgres"
  instance_class          = "db.r6g.large"
  multi_az                = true
  backup_retention_period = 14
}
