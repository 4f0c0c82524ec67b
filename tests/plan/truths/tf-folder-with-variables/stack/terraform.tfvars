# saved 300 EUR a month
db_multi_az = false
