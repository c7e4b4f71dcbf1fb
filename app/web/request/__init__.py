"""Request: what every door does with a request: guard, body, caller, errors."""
