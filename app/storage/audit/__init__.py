"""Audit: the trail of records, whatever database holds it."""
