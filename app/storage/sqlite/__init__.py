"""SQLite: the database of the trail on one host, and its files."""
