"""Abilities: what upstreams can, and what a request has them do, by its word."""

# What a request may need that not every upstream can (`ChatRequest.needs`).
TOOLS = "tools"
IMAGES = "images"
MULTIPLE = "multiple"  # more than one choice: `n` above 1
JSON = "json"  # an answer in a format that the request lays down
COUNT = "count"  # the tokens of the request counted, and no answer

# Can go on with the beginning of an answer (`ChatRequest.is_begun`); never a need.
PREFILL = "prefill"

# The fields of a request that speak of tools, and are left out with them.
TOOL_FIELDS = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"}
)

# What a request has an upstream do (`ChatRequest.task`). All but CHAT must be declared.
CHAT = "chat"
COMPLETIONS = "completions"  # go on with a text that is no conversation
EMBEDDINGS = "embeddings"  # turn each text into a list of numbers
CHAT_ONLY = frozenset({CHAT})
