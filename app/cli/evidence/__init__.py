"""Commands that tell what the records prove."""
