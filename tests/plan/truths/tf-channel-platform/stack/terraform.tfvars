schedule_multi_az    = true
schedule_backup_days = 7
