"""Shared: the small values that all workers of a host read and change together."""
