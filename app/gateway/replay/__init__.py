"""Replay: what is on record said again as it came, or asked again and compared."""
