resource "aws_ecs_cluster" "main" {
  name = local.name
}

resource "aws_ecs_task_definition" "api" {
  family = "api"
  container_definitions = jsonencode([{
    name  = "api"
    image = "registry.example/api:7"
    environment = [
      { name = "DB_HOST", value = aws_db_instance.catalogue.address },
      { name = "SESSIONS_DB_HOST", value = aws_db_instance.sessions.address },
      { name = "PROGRESS_TABLE", value = aws_dynamodb_table.progress.name },
      { name = "WATCHLIST_TABLE", value = aws_dynamodb_table.watchlist.name },
      { name = "REDIS_HOST", value = aws_elasticache_cluster.cache.cache_nodes[0].address },
      { name = "PAYMENTS_URL", value = "http://${aws_lb.internal.dns_name}" },
      { name = "ENCODE_QUEUE", value = aws_sqs_queue.encode.url },
      { name = "MAIL_QUEUE", value = aws_sqs_queue.mail.url },
      { name = "THUMBS_QUEUE", value = module.thumbs.url },
      { name = "GEO_URL", value = "https://geo.vendor.example/lookup" },
    ]
  }])
}

resource "aws_ecs_service" "api" {
  name            = "api"
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.api.arn
  desired_count   = var.api_count
  network_configuration {
    subnets = [aws_subnet.a.id, aws_subnet.b.id]
  }
  load_balancer {
    target_group_arn = aws_lb_target_group.api.arn
    container_name   = "api"
    container_port   = 8080
  }
}

resource "aws_ecs_task_definition" "payments" {
  family                = "payments"
  container_definitions = jsonencode([{ name = "payments", image = "registry.example/payments:2" }])
}

resource "aws_ecs_service" "payments" {
  name            = "payments"
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.payments.arn
  desired_count   = 1
  load_balancer {
    target_group_arn = aws_lb_target_group.payments.arn
    container_name   = "payments"
    container_port   = 8080
  }
}

module "thumbs" {
  source = "./modules/queue"
  name   = "thumbs"
}
