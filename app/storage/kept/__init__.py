"""Kept: the sealing of kept answers, and a place for them that is no disk."""
