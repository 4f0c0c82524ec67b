variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "stage" {
  type    = string
  default = "prod"
}

variable "schedule_multi_az" {
  type    = bool
  default = false
}

variable "schedule_backup_days" {
  type    = number
  default = 0
}
