# A region's hub: one topic, and for every spoke a queue of its own with a dead-letter queue behind it.
resource "aws_sns_topic" "events" {
  name                        = "${var.name}-hub.fifo"
  fifo_topic                  = true
  content_based_deduplication = false
  fifo_throughput_scope       = "MessageGroup"
}

resource "aws_sqs_queue" "dead" {
  for_each = var.spokes

  name                      = "${var.name}-${each.key}-dead.fifo"
  fifo_queue                = true
  deduplication_scope       = "messageGroup"
  fifo_throughput_limit     = "perMessageGroupId"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "spoke" {
  for_each = var.spokes

  name                       = "${var.name}-${each.key}.fifo"
  fifo_queue                 = true
  deduplication_scope        = "messageGroup"
  fifo_throughput_limit      = "perMessageGroupId"
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 360
  sqs_managed_sse_enabled    = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    maxReceiveCount     = 100
  })
}

data "aws_iam_policy_document" "hub_to_spoke" {
  for_each = var.spokes

  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.spoke[each.key].arn, aws_sqs_queue.dead[each.key].arn]

    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_sns_topic.events.arn]
    }
  }
}

resource "aws_sqs_queue_policy" "spoke" {
  for_each = var.spokes

  queue_url = aws_sqs_queue.spoke[each.key].url
  policy    = data.aws_iam_policy_document.hub_to_spoke[each.key].json
}

resource "aws_sqs_queue_policy" "dead" {
  for_each = var.spokes

  queue_url = aws_sqs_queue.dead[each.key].url
  policy    = data.aws_iam_policy_document.hub_to_spoke[each.key].json
}

resource "aws_sns_topic_subscription" "spoke" {
  for_each = var.spokes

  topic_arn            = aws_sns_topic.events.arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.spoke[each.key].arn
  raw_message_delivery = true
  filter_policy        = jsonencode({ types = sort(each.value) })
  redrive_policy       = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn })
}
