resource "aws_iam_role" "failover" {
  name = "failover"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "failover" {
  role = aws_iam_role.failover.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["route53:ChangeResourceRecordSets", "rds:PromoteReadReplica"]
      Resource = "*"
    }]
  })
}

resource "aws_lambda_function" "failover" {
  function_name = "region-failover"
  role          = aws_iam_role.failover.arn
  handler       = "index.handler"
  runtime       = "python3.12"
}
