"""Kept: answers that can be said again, for the cache and for an Idempotency-Key."""
