"""Retention: how words, and whole records, go from a SQLite file."""
