"""Why a choice of an OpenAI-speaking upstream ended: OpenAI's words for others' words.

Servers and the proxies in front of them have many words for the same few ends, so the
single words of a reason decide (`MAX_TOKENS`, `finish_reason_length`, `token-limit`).
Only those that are known to mean a proper end count as one. A reason of other words is
passed on but ends nothing by itself: an answer in prose is then as whole as its stream
or body is, and a tool call is not (see `chunks.is_whole`).
"""

import re
from functools import lru_cache

from app.gateway.errors import BadReply

ENDS = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})

BROKEN = "upstream_error"  # whoever says this has not said all
BAD_CALL = "bad_tool_call"  # what the model has made of the tools it was given
NOT_YET = frozenset({"", "null", "none", "unspecified"})
LONGEST = 100  # characters of a reason that is looked at

# In this order, since a reason may have words of several: a filter tells of errors,
# an error of tools, a length of a stop.
MEANINGS = (
    (
        "content_filter",
        """
        blocked blocklist censored filter filtered guardrail guardrails moderation
        prohibited recitation refusal refused safety sensitive spii toxic
        """,
    ),
    (
        BAD_CALL,
        """
        malformed unexpected
        """,
    ),
    (
        BROKEN,
        """
        abort aborted cancel canceled cancelled crash crashed disconnect disconnected
        error errors exception fail failed failure incomplete insufficient interrupted
        overload overloaded preempted rate terminated timeout unavailable
        """,
    ),
    ("length", "context exceeded length limit max repetition window"),
    ("tool_calls", "tool tools"),
    ("function_call", "function"),
    (
        "stop",
        """
        complete completed done end ended eos eot finish finished normal s stop stopped
        """,
    ),
)
_BY_WORD = [(end, frozenset(words.split())) for end, words in MEANINGS]
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[a-z]+")
# What stands before the reason itself in enumerations of some servers.
_PREFIX = re.compile(r"(?:finish|stop)[ _-]?reason[ _-]?")


def reason_of(reason: str | None) -> str | None:
    """The finish reason that a server means, None for none yet.

    Words that we do not know come back as they are. Raises BadReply for some that say
    that the answer was broken off.
    """
    if reason is None or reason in ENDS:
        return reason
    end = _meaning(reason[:LONGEST])
    if end in (BROKEN, BAD_CALL):
        raise BadReply(end)
    if end in NOT_YET:
        return None
    return end or reason


def is_end(reason: str | None) -> bool:
    """Whether a finish reason tells of a proper end."""
    return reason in ENDS


@lru_cache(maxsize=64)
def _meaning(reason: str) -> str | None:
    """An end, a fault, one of NOT_YET, or None for words that nobody knows."""
    text = _PREFIX.sub("", _HUMP.sub(" ", reason).strip().lower(), count=1)
    if text in NOT_YET:
        return text
    words = frozenset(_WORD.findall(text))
    return next((end for end, known in _BY_WORD if words & known), None)
