variable "zones" {
  default = ["eu-west-1a", "eu-west-1b"]
}

resource "aws_apigatewayv2_api" "public" {
  name          = "events"
  protocol_type = "HTTP"
}

resource "aws_apigatewayv2_integration" "start" {
  api_id           = aws_apigatewayv2_api.public.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.start.invoke_arn
}

resource "aws_lambda_function" "start" {
  function_name = "start-event"
  runtime       = "python3.12"
  handler       = "start.handler"
  role          = aws_iam_role.start.arn
  environment {
    variables = {
      RIGHTS      = aws_dynamodb_table.rights.name
      TICKETS_URL = "https://tickets.partner.example/v2"
      APP_URL     = "https://live.events.example"
      CACHE       = aws_elasticache_cluster.seats.cache_nodes[0].address
    }
  }
  dead_letter_config {
    target_arn = aws_sqs_queue.start_dead.arn
  }
}

resource "aws_iam_role" "start" {
  name               = "start"
  assume_role_policy = "{}"
}

resource "aws_sqs_queue" "start_dead" {
  name = "start-dead"
}

resource "aws_dynamodb_table" "rights" {
  name         = "rights"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"
  point_in_time_recovery {
    enabled = true
  }
}

resource "aws_elasticache_cluster" "seats" {
  cluster_id      = "seats"
  engine          = "memcached"
  node_type       = "cache.t4g.small"
  num_cache_nodes = 1
}

resource "aws_medialive_channel" "event" {
  name          = "event"
  channel_class = "STANDARD"
  role_arn      = aws_iam_role.start.arn
}

resource "aws_efs_file_system" "clips" {
  creation_token = "clips"
}

resource "aws_efs_backup_policy" "clips" {
  file_system_id = aws_efs_file_system.clips.id
  backup_policy {
    status = "ENABLED"
  }
}

resource "aws_db_instance" "orders" {
  identifier              = "orders"
  engine                  = "postgres"
  multi_az                = true
  backup_retention_period = 0
}

resource "aws_sqs_queue" "orders" {
  name = "orders"
}

resource "aws_lambda_event_source_mapping" "orders" {
  event_source_arn = aws_sqs_queue.orders.arn
  function_name    = aws_lambda_function.book.arn
}

resource "aws_lambda_function" "book" {
  function_name = "book"
  environment {
    variables = { DB = aws_db_instance.orders.address }
  }
}
