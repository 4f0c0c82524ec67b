# The op logs: one global table a cell. No key of it is ever written by two regions.
resource "aws_dynamodb_table" "log" {
  provider = aws.home
  for_each = var.cells

  name                        = "${var.name}-${each.key}-log"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  stream_enabled              = true
  stream_view_type            = "NEW_AND_OLD_IMAGES"
  deletion_protection_enabled = true

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "N"
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  replica {
    region_name                 = var.twin_region
    point_in_time_recovery      = true
    deletion_protection_enabled = true
  }

  lifecycle {
    prevent_destroy = true
  }
}
