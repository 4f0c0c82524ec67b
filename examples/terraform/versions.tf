# Never applied: written and checked offline (tests/deploy/aws/test_terraform.py), no provider was at hand.
terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source                = "hashicorp/aws"
      version               = ">= 6.9" # replicas with deletion protection came with it
      configuration_aliases = [aws.home, aws.twin]
    }
  }
}
