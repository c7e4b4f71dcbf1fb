"""Metrics: what is counted, where the workers count it, and the page that shows it."""
