# Capacity of the op logs of cells that are named in var.capacity: provisioned in both regions, and scaled by what is used.
# Without an entry a log is on demand. Tables of state stay on demand (docs/decisions/0026).
locals {
  writes = { for cell, c in var.capacity : "${cell}/write" => { cell = cell, least = c.write_least, most = c.write_most, target = c.target } }
  reads  = { for cell, c in var.capacity : "${cell}/read" => { cell = cell, least = c.read_least, most = c.read_most, target = c.target } }
  scaled = merge(local.writes, local.reads)
}

resource "aws_appautoscaling_target" "home" {
  provider = aws.home
  for_each = local.scaled

  service_namespace  = "dynamodb"
  resource_id        = "table/${aws_dynamodb_table.log[each.value.cell].name}"
  scalable_dimension = endswith(each.key, "/write") ? "dynamodb:table:WriteCapacityUnits" : "dynamodb:table:ReadCapacityUnits"
  min_capacity       = each.value.least
  max_capacity       = each.value.most
}

resource "aws_appautoscaling_policy" "home" {
  provider = aws.home
  for_each = local.scaled

  name               = "${var.name}-${replace(each.key, "/", "-")}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.home[each.key].service_namespace
  resource_id        = aws_appautoscaling_target.home[each.key].resource_id
  scalable_dimension = aws_appautoscaling_target.home[each.key].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value = each.value.target

    predefined_metric_specification {
      predefined_metric_type = endswith(each.key, "/write") ? "DynamoDBWriteCapacityUtilization" : "DynamoDBReadCapacityUtilization"
    }
  }
}

resource "aws_appautoscaling_target" "twin" {
  provider = aws.twin
  for_each = local.scaled

  service_namespace  = "dynamodb"
  resource_id        = "table/${aws_dynamodb_table.log[each.value.cell].name}"
  scalable_dimension = endswith(each.key, "/write") ? "dynamodb:table:WriteCapacityUnits" : "dynamodb:table:ReadCapacityUnits"
  min_capacity       = each.value.least
  max_capacity       = each.value.most
}

resource "aws_appautoscaling_policy" "twin" {
  provider = aws.twin
  for_each = local.scaled

  name               = "${var.name}-${replace(each.key, "/", "-")}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.twin[each.key].service_namespace
  resource_id        = aws_appautoscaling_target.twin[each.key].resource_id
  scalable_dimension = aws_appautoscaling_target.twin[each.key].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value = each.value.target

    predefined_metric_specification {
      predefined_metric_type = endswith(each.key, "/write") ? "DynamoDBWriteCapacityUtilization" : "DynamoDBReadCapacityUtilization"
    }
  }
}

# What a schedule knows: the least is raised before a kick-off, and put back afterwards by the booking's second action.
resource "aws_appautoscaling_scheduled_action" "begins" {
  provider = aws.home
  for_each = var.bookings

  name               = "${var.name}-${each.key}-begins"
  service_namespace  = "dynamodb"
  resource_id        = aws_appautoscaling_target.home["${each.value.cell}/write"].resource_id
  scalable_dimension = aws_appautoscaling_target.home["${each.value.cell}/write"].scalable_dimension
  schedule           = each.value.begins

  scalable_target_action {
    min_capacity = each.value.write_least
  }
}

resource "aws_appautoscaling_scheduled_action" "ends" {
  provider = aws.home
  for_each = var.bookings

  name               = "${var.name}-${each.key}-ends"
  service_namespace  = "dynamodb"
  resource_id        = aws_appautoscaling_target.home["${each.value.cell}/write"].resource_id
  scalable_dimension = aws_appautoscaling_target.home["${each.value.cell}/write"].scalable_dimension
  schedule           = each.value.ends

  scalable_target_action {
    min_capacity = var.capacity[each.value.cell].write_least
  }
}
