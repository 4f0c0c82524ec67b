# Calls by latency, each answer with a health check of a journey; an accelerator where balancers are given.
resource "aws_route53_health_check" "region" {
  provider = aws.home
  for_each = var.regional_names

  type              = "HTTPS"
  fqdn              = each.value
  resource_path     = "/readyz"
  port              = 443
  request_interval  = 10
  failure_threshold = 3
  regions           = ["eu-west-1", "us-east-1", "us-west-2"]
}

resource "aws_route53_record" "calls" {
  provider = aws.home
  for_each = var.regional_names

  zone_id         = var.zone_id
  name            = var.calls
  type            = "CNAME"
  ttl             = 30
  set_identifier  = each.key
  records         = [each.value]
  health_check_id = aws_route53_health_check.region[each.key].id

  latency_routing_policy {
    region = each.key
  }
}

resource "aws_globalaccelerator_accelerator" "calls" {
  provider = aws.home
  count    = length(var.balancers) > 0 ? 1 : 0

  name            = var.name
  ip_address_type = "IPV4"
  enabled         = true
}

resource "aws_globalaccelerator_listener" "https" {
  provider = aws.home
  count    = length(var.balancers) > 0 ? 1 : 0

  accelerator_arn = aws_globalaccelerator_accelerator.calls[0].arn
  protocol        = "TCP"

  port_range {
    from_port = 443
    to_port   = 443
  }
}

resource "aws_globalaccelerator_endpoint_group" "region" {
  provider = aws.home
  for_each = var.balancers

  listener_arn          = aws_globalaccelerator_listener.https[0].arn
  endpoint_group_region = each.key
  health_check_protocol = "HTTPS"
  health_check_path     = "/readyz"

  endpoint_configuration {
    endpoint_id = each.value
    weight      = 128
  }
}
