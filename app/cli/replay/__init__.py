"""The commands of replay: what is on record said again, or asked again."""
