"""Records: what is stored of a chat, and the ports that store and read it."""
