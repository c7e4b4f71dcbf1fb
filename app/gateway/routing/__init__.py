"""Routing: which upstreams a chat is asked of, and what follows when one fails."""
