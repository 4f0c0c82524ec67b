output "log_tables" {
  description = "Cell -> name of its global table."
  value       = { for cell, table in aws_dynamodb_table.log : cell => table.name }
}

output "topics" {
  description = "Hub of each region."
  value       = { home = module.hub_home.topic, twin = module.hub_twin.topic }
}
