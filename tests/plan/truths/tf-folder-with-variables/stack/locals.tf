locals {
  name = "tv"
  ha   = true
}
