"""The wire models of other tasks than chats: text completions and embeddings."""
