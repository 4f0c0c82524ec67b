variable "name" {
  description = "First word of every resource's name; as in platform.toml."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,15}$", var.name))
    error_message = "The name has 2 to 16 of a-z and 0-9, and begins with a letter."
  }
}

variable "cells" {
  description = "Cells, the studio included; as in platform.toml."
  type        = set(string)
}

variable "spokes" {
  description = "Spoke -> event types that reach its queue."
  type        = map(list(string))
}

variable "twin_region" {
  description = "AWS region of the second region; the provider aws.twin is for it."
  type        = string
}

variable "zone_id" {
  description = "Hosted zone of the platform."
  type        = string
}

variable "calls" {
  description = "Name under which calls come, e.g. api.tv.example.org."
  type        = string
}

variable "regional_names" {
  description = "AWS region -> the region's own name, e.g. eu-central.tv.example.org."
  type        = map(string)
}

variable "balancers" {
  description = "AWS region -> ARN of its balancer; with them an accelerator is made."
  type        = map(string)
  default     = {}
}

variable "templates" {
  description = "Folder of eisbach deploy synth: compute comes from there as stacks."
  type        = string
  default     = ""
}

variable "template_bucket" {
  description = "Bucket that holds the synthesised templates and packages."
  type        = string
  default     = ""
}

variable "capacity" {
  description = "Cell -> units a second of its log, as cell.capacity in platform.toml; a cell without is on demand."
  type = map(object({
    write_least = number
    write_most  = number
    read_least  = number
    read_most   = number
    target      = optional(number, 70)
  }))
  default = {}
}

variable "bookings" {
  description = "Name -> what a schedule knows: at(2026-11-28T19:40:00) and the write units to have from then on, and the end."
  type = map(object({
    cell        = string
    begins      = string
    ends        = string
    write_least = number
  }))
  default = {}
}
