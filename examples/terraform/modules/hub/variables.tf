variable "name" {
  description = "First word of every resource's name."
  type        = string
}

variable "spokes" {
  description = "Spoke -> event types that reach its queue."
  type        = map(list(string))
}
