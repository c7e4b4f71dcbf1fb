"""Records read for what they prove: without their words, oldest first."""
