"""Messages: Anthropic's protocol, on the same chats as all others."""
