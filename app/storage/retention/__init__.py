"""Retention: how words, and whole records, go from a database of whatever kind."""
