"""Shared: what hosts share besides the record (quotas, places, claims), and answers."""
