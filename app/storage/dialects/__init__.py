"""Dialects: what each database says in its own way."""
