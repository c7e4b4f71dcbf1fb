"""Anthropic: the dialect of servers that speak Anthropic's messages."""
