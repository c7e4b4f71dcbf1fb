"""Chat: the doors that answer chats, whole and streamed."""
