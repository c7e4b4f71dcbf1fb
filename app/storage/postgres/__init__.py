"""PostgreSQL: the database of the trail for several hosts, a lane for each worker."""
