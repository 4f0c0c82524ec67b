terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.70" }
  }
}

provider "aws" {
  region = var.region
}

locals {
  name = "channels-${var.stage}"
  tags = { Service = "channels", Backup = "daily" }
}

data "aws_availability_zones" "all" {}

resource "aws_vpc" "main" {
  cidr_block = "10.40.0.0/16"
}

resource "aws_subnet" "public" {
  count             = 2
  vpc_id            = aws_vpc.main.id
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 8, count.index)
  availability_zone = data.aws_availability_zones.all.names[count.index]
}

resource "aws_lb" "edge" {
  name               = "${local.name}-edge"
  load_balancer_type = "application"
  subnets            = aws_subnet.public[*].id
}

resource "aws_lb_target_group" "epg" {
  port        = 8080
  protocol    = "HTTP"
  target_type = "ip"
  vpc_id      = aws_vpc.main.id
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.edge.arn
  port              = 443
  protocol          = "HTTPS"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.epg.arn
  }
}

resource "aws_ecs_cluster" "main" {
  name = local.name
}

# The guide. One is written here, the scaler below keeps three.
resource "aws_ecs_service" "epg" {
  name            = "epg"
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.epg.arn
  desired_count   = 1
  launch_type     = "FARGATE"
  network_configuration {
    subnets = aws_subnet.public[*].id
  }
  load_balancer {
    target_group_arn = aws_lb_target_group.epg.arn
    container_name   = "epg"
    container_port   = 8080
  }
  lifecycle {
    ignore_changes = [desired_count]
  }
}

resource "aws_appautoscaling_target" "epg" {
  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.main.name}/${aws_ecs_service.epg.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = 3
  max_capacity       = 60
}

resource "aws_ecs_task_definition" "epg" {
  family                   = "epg"
  requires_compatibilities = ["FARGATE"]
  cpu                      = 512
  memory                   = 1024
  container_definitions = jsonencode([{
    name  = "epg"
    image = "registry.example/channels/epg:31"
    environment = [
      { name = "SCHEDULE_DB", value = aws_db_instance.schedule.address },
      { name = "RIGHTS_DB", value = aws_rds_cluster.rights.endpoint },
      { name = "CACHE", value = aws_elasticache_replication_group.guide.primary_endpoint_address },
      { name = "SEARCH", value = aws_opensearch_domain.search.endpoint },
      { name = "PICTURES", value = aws_s3_bucket.pictures.bucket },
      { name = "AUDIT_QUEUE", value = aws_sqs_queue.audit.url },
      { name = "CHANGES_QUEUE", value = aws_sqs_queue.changes.url },
      { name = "METADATA_VENDOR", value = "https://feeds.gracenotes-like.example/v4" },
      { name = "SELF", value = "https://guide.channels.example" },
    ]
  }])
}

resource "aws_db_instance" "schedule" {
  identifier              = "${local.name}-schedule"
  engine                  = "postgres"
  instance_class          = "db.r7g.large"
  multi_az                = var.schedule_multi_az
  backup_retention_period = var.schedule_backup_days
  tags                    = local.tags
}

# The reader is for reports: it does not take over by itself.
resource "aws_db_instance" "reports" {
  identifier          = "${local.name}-reports"
  replicate_source_db = aws_db_instance.schedule.identifier
  instance_class      = "db.r7g.large"
}

resource "aws_rds_cluster" "rights" {
  cluster_identifier      = "${local.name}-rights"
  engine                  = "aurora-postgresql"
  backup_retention_period = 14
}

resource "aws_rds_cluster_instance" "rights" {
  count              = 2
  cluster_identifier = aws_rds_cluster.rights.id
  instance_class     = "db.r7g.large"
  engine             = "aurora-postgresql"
}

resource "aws_elasticache_replication_group" "guide" {
  replication_group_id       = "${local.name}-guide"
  description                = "the guide of today"
  node_type                  = "cache.r7g.large"
  num_cache_clusters         = 1
  automatic_failover_enabled = false
}

resource "aws_opensearch_domain" "search" {
  domain_name = local.name
  cluster_config {
    instance_type          = "r7g.large.search"
    instance_count         = 3
    zone_awareness_enabled = true
    zone_awareness_config {
      availability_zone_count = 3
    }
  }
}

resource "aws_s3_bucket" "pictures" {
  bucket = "${local.name}-pictures"
}

resource "aws_s3_bucket_versioning" "pictures" {
  bucket = aws_s3_bucket.pictures.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_sqs_queue" "changes" {
  name = "${local.name}-changes"
}

resource "aws_sqs_queue" "changes_dead" {
  name                      = "${local.name}-changes-dead"
  message_retention_seconds = 1209600
}

# The redrive policy is a resource of its own since version 4 of the provider.
resource "aws_sqs_queue_redrive_policy" "changes" {
  queue_url = aws_sqs_queue.changes.id
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.changes_dead.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "audit" {
  name = "${local.name}-audit"
}

resource "aws_dynamodb_table" "favourites" {
  name         = "${local.name}-favourites"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "account"
  attribute {
    name = "account"
    type = "S"
  }
}

# Nothing says point-in-time recovery here: AWS Backup takes it daily.
resource "aws_dynamodb_table" "reminders" {
  name         = "${local.name}-reminders"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "account"
  attribute {
    name = "account"
    type = "S"
  }
}

resource "aws_backup_vault" "main" {
  name = local.name
}

resource "aws_backup_plan" "daily" {
  name = "daily"
  rule {
    rule_name         = "daily"
    target_vault_name = aws_backup_vault.main.name
    schedule          = "cron(0 3 * * ? *)"
    lifecycle {
      delete_after = 35
    }
  }
}

resource "aws_backup_selection" "tables" {
  name         = "tables"
  plan_id      = aws_backup_plan.daily.id
  iam_role_arn = "arn:aws:iam::111122223333:role/backup"
  resources    = [aws_dynamodb_table.reminders.arn]
}

module "favourites" {
  source    = "./modules/service"
  name      = "favourites"
  cluster   = aws_ecs_cluster.main.id
  copies    = 2
  subnets   = aws_subnet.public[*].id
  variables = { TABLE = aws_dynamodb_table.favourites.name, REMINDERS = aws_dynamodb_table.reminders.name }
}
