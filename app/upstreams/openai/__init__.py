"""OpenAI: the dialect of servers that speak chat completions."""
