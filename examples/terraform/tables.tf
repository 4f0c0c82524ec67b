# The op logs: one global table a cell. No key of it is ever written by two regions. On demand with an end to the bill,
# unless var.capacity names the cell.
resource "aws_dynamodb_table" "log" {
  provider = aws.home
  for_each = var.cells

  name                        = "${var.name}-${each.key}-log"
  billing_mode                = contains(keys(var.capacity), each.key) ? "PROVISIONED" : "PAY_PER_REQUEST"
  write_capacity              = try(var.capacity[each.key].write_least, null)
  read_capacity               = try(var.capacity[each.key].read_least, null)
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

  dynamic "on_demand_throughput" {
    for_each = contains(keys(var.capacity), each.key) ? [] : [40000]

    content {
      max_write_request_units = on_demand_throughput.value
    }
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
    ignore_changes  = [write_capacity, read_capacity]
  }
}
