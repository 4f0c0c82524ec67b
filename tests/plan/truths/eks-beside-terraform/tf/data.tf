resource "aws_db_subnet_group" "tv" {
  name       = "tv"
  subnet_ids = ["subnet-a", "subnet-b"]
}

resource "aws_db_instance" "accounts" {
  identifier              = "tv-accounts"
  engine                  = "postgres"
  instance_class          = "db.m7g.large"
  db_subnet_group_name    = aws_db_subnet_group.tv.name
  multi_az                = false
  backup_retention_period = 14
}

resource "aws_db_instance" "billing" {
  identifier              = "tv-billing"
  engine                  = "postgres"
  instance_class          = "db.m7g.large"
  multi_az                = true
  backup_retention_period = 0
}

resource "aws_elasticache_replication_group" "sessions" {
  replication_group_id       = "tv-sessions"
  description                = "who is signed in"
  node_type                  = "cache.m7g.large"
  num_cache_clusters         = 3
  automatic_failover_enabled = true
  multi_az_enabled           = true
}

resource "aws_sqs_queue" "invoices" {
  name           = "tv-invoices"
  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.invoices_dead.arn, maxReceiveCount = 3 })
}

resource "aws_sqs_queue" "invoices_dead" {
  name = "tv-invoices-dead"
}

resource "aws_eks_cluster" "tv" {
  name     = "tv"
  role_arn = "arn:aws:iam::111122223333:role/eks"
  vpc_config {
    subnet_ids = ["subnet-a", "subnet-b"]
  }
}

resource "aws_eks_node_group" "tv" {
  cluster_name    = aws_eks_cluster.tv.name
  node_group_name = "tv"
  node_role_arn   = "arn:aws:iam::111122223333:role/node"
  subnet_ids      = ["subnet-a", "subnet-b"]
  scaling_config {
    desired_size = 6
    min_size     = 4
    max_size     = 20
  }
}
