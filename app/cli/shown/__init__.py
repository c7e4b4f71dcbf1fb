"""What commands print for people: times in a named zone, and records."""
