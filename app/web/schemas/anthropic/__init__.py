"""The wire models of Anthropic's messages: what is asked, and what is answered."""
