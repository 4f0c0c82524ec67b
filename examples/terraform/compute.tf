# Compute is one source of truth: the templates of `eisbach deploy synth`, uploaded and created as stacks.
resource "aws_s3_object" "template" {
  provider = aws.home
  for_each = var.templates == "" ? toset([]) : fileset(var.templates, "*-region-*.template.json")

  bucket = var.template_bucket
  key    = "eisbach/${each.value}"
  source = "${var.templates}/${each.value}"
  etag   = filemd5("${var.templates}/${each.value}")
}

resource "aws_cloudformation_stack" "region" {
  provider = aws.home
  for_each = aws_s3_object.template

  name         = trimsuffix(each.key, ".template.json")
  template_url = "https://${each.value.bucket}.s3.amazonaws.com/${each.value.key}"
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
  on_failure   = "ROLLBACK"
}
