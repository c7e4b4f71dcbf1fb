"""Responses: OpenAI's newer protocol, on the same chats as the older one."""
