"""The commands that take something out of the records."""
