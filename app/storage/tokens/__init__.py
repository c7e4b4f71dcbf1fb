"""Tokens: the TOML file of tokens, read, watched and edited."""
