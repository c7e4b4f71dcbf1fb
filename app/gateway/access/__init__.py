"""Access: tokens, which say who may ask, and rate limits, which say how often."""
