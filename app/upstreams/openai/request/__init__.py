"""Request: what an OpenAI-speaking server is asked, in its words."""
