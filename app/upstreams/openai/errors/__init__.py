"""What the errors of an OpenAI-speaking upstream mean, in every shape and wording."""
