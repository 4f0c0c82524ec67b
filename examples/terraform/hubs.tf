# A hub a region, the same in both: nothing is shared between them.
module "hub_home" {
  source    = "./modules/hub"
  providers = { aws = aws.home }

  name   = var.name
  spokes = var.spokes
}

module "hub_twin" {
  source    = "./modules/hub"
  providers = { aws = aws.twin }

  name   = var.name
  spokes = var.spokes
}
