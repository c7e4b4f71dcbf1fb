"""Why a choice of an OpenAI-speaking upstream ended: OpenAI's words for others' words.

Only words that are known to mean a proper end count as one. A word that we do not know
is passed on but ends nothing by itself: an answer in prose is then as whole as its
stream or body is, and a tool call is not (see `openai_chunks.is_whole`).
"""

from app.gateway.errors import BadReply

# By what servers and the proxies in front of them say.
ENDS = {
    "stop": ("eos", "eos_token", "end_turn", "stop_sequence", "end", "complete"),
    "length": ("max_tokens", "max_output_tokens", "max_length", "model_length"),
    "tool_calls": ("tool_call", "tool_use"),
    "function_call": (),
    "content_filter": ("content_filtered", "safety"),
}
KNOWN = {alias: end for end, others in ENDS.items() for alias in (end, *others)}

# Whoever says this has not said all.
BROKEN_OFF = frozenset(
    {
        "abort",
        "aborted",
        "cancel",
        "canceled",
        "cancelled",
        "error",
        "failed",
        "insufficient_system_resource",
        "interrupted",
        "network_error",
        "server_error",
        "timeout",
    }
)

NOT_YET = frozenset({"", "null", "none"})


def reason_of(reason: str | None) -> str | None:
    """The finish reason that a server means, None for none yet.

    A word that we do not know comes back as it is. Raises BadReply for one that says
    that the answer was broken off.
    """
    word = (reason or "").strip().lower()
    if word in NOT_YET:
        return None
    if word in BROKEN_OFF:
        raise BadReply("upstream_error")
    return KNOWN.get(word, reason)


def is_end(reason: str | None) -> bool:
    """Whether a finish reason tells of a proper end."""
    return reason in ENDS
