"""HTTP: one exchange with a server, under a deadline."""
