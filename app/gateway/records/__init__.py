"""Records: what is kept of a chat, and the ports through which it is kept and read."""
