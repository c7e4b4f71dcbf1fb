"""Access: who may ask, and how often."""
