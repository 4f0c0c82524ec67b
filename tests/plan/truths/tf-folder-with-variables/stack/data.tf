resource "aws_db_instance" "catalogue" {
  engine                  = "postgres"
  instance_class          = "db.r6g.large"
  multi_az                = var.db_multi_az
  backup_retention_period = var.backup_days
}

resource "aws_db_instance" "sessions" {
  engine                  = "mysql"
  instance_class          = "db.t4g.medium"
  multi_az                = local.ha
  backup_retention_period = 0
}

resource "aws_dynamodb_table" "progress" {
  name         = "progress"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "account"
}

resource "aws_dynamodb_table" "watchlist" {
  name         = "watchlist"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "account"
  point_in_time_recovery {
    enabled = var.point_in_time
  }
}

resource "aws_elasticache_cluster" "cache" {
  cluster_id      = "home"
  engine          = "redis"
  node_type       = "cache.t4g.small"
  num_cache_nodes = 1
}

resource "aws_sqs_queue" "encode" {
  name = "encode"
}

resource "aws_sqs_queue" "mail_dead" {
  name = "mail-dead"
}

resource "aws_sqs_queue" "mail" {
  name = "mail"
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.mail_dead.arn
    maxReceiveCount     = 4
  })
}
