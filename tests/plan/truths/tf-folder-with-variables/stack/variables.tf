variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "db_multi_az" {
  description = "A standby in a second zone."
  type        = bool
  default     = true
}

variable "backup_days" {
  type    = number
  default = 14
}

variable "api_count" {
  type    = number
  default = 3
}

variable "point_in_time" {
  type    = bool
  default = true
}
