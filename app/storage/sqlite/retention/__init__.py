"""Retention: what only a SQLite file asks of it: to cover what pages still hold."""
