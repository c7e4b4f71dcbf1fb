"""The wire models of Responses: what is asked, and what is answered."""
