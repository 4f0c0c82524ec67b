variable "name" { type = string }
variable "cluster" { type = string }
variable "copies" { type = number }
variable "subnets" { type = list(string) }
variable "variables" { type = map(string) }

resource "aws_ecs_service" "this" {
  name            = var.name
  cluster         = var.cluster
  task_definition = aws_ecs_task_definition.this.arn
  desired_count   = var.copies
  launch_type     = "FARGATE"
  network_configuration {
    subnets = var.subnets
  }
}

resource "aws_ecs_task_definition" "this" {
  family = var.name
  container_definitions = jsonencode([{
    name        = var.name
    image       = "registry.example/channels/${var.name}:1"
    environment = [for k, v in var.variables : { name = k, value = v }]
  }])
}
