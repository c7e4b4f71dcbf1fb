"""The headers of requests and answers, as the document of the API tells them."""

from typing import Any

from app.web.chat import kept
from app.web.chat.chat_headers import STREAM_MODE
from app.web.request.caller import DEADLINE, MILLISECONDS, PRIORITY

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}

# Every request may bring these.
ON_ALL_REQUESTS = ("X-Correlation-ID", "traceparent")
OF_EMBEDDINGS = (DEADLINE, PRIORITY, kept.KEY, kept.CONTROL)
OF_CHATS = (*OF_EMBEDDINGS, STREAM_MODE)

REQUEST: dict[str, tuple[str, dict[str, Any]]] = {
    "X-Correlation-ID": (
        "The name under which the request is found everywhere. Taken if it is 1 to"
        " 128 harmless ASCII characters, else replaced.",
        TEXT,
    ),
    "traceparent": (
        "The caller's W3C trace, which goes on here. Ignored if it is malformed.",
        TEXT,
    ),
    DEADLINE: (
        "Milliseconds that the caller waits, if that is less than the setting: 100 to"
        " 9999999. They bound all of a stream, too.",
        {"type": "string", "pattern": f"^{MILLISECONDS.pattern}$"},
    ),
    PRIORITY: (
        "A lower class than the token's, for when not all can be served at once.",
        {"type": "string", "enum": ["high", "normal", "low"]},
    ),
    STREAM_MODE: (
        "What a stream does when its upstream breaks: `live` goes on with the next"
        " one where that says the same; `verified` holds the text back until it is"
        " whole; `continue` gives the next one that can what was said, to go on from"
        " there, and tells the seam.",
        {"type": "string", "enum": ["live", "verified", "continue"]},
    ),
    kept.KEY: (
        "A name for this very request: sent again with it, the request is answered"
        " once, and gets the same answer (draft-ietf-httpapi-idempotency-key-header).",
        {"type": "string", "pattern": "^[!#-~][!-~]{0,254}$"},
    ),
    kept.CONTROL: (
        "Where answers are cached: `no-store`, `no-cache`, `max-age`,"
        " `only-if-cached` as in RFC 9111.",
        TEXT,
    ),
    "X-Claude-Code-Session-Id": ("The session, as Claude Code names it.", TEXT),
    "anthropic-beta": (
        "Names of what is to be tried; for upstreams of kind `anthropic`.",
        {"type": "string", "pattern": "^[A-Za-z0-9_.,: -]{0,2000}$"},
    ),
    "X-Session-Id": ("The session; else metadata, `user` or a new id name it.", TEXT),
}

ON_ALL_ANSWERS = ("X-Correlation-ID", "traceparent")
LEFT_OUT = "X-Gateway-Left-Out"
OF_RATED = ("RateLimit", "RateLimit-Policy")
OF_KEPT = (kept.RESULT, kept.STATUS, "Age", kept.REPLAYED)
OF_REPLIES = (
    "X-Gateway-Provider",
    "X-Gateway-Degraded",
    "X-Gateway-Fallback-Reason",
    "X-Gateway-Left-Out",
    "X-Gateway-Usage",
    "X-Gateway-Attempts",
    "X-Gateway-Audit-Id",
    "Server-Timing",
    *OF_KEPT,
)
# Those that are there under a condition that their words tell.
SOMETIMES = frozenset(
    {
        *OF_RATED,
        LEFT_OUT,
        "X-Gateway-Fallback-Reason",
        "X-Gateway-Attempts",
        "X-Gateway-Choices",
        "X-Gateway-Usage",
        "x-should-retry",
        *OF_KEPT,
    }
)

ANSWER: dict[str, tuple[str, dict[str, Any]]] = {
    "X-Correlation-ID": ("The name under which the request is found.", TEXT),
    "X-Request-Id": ("The same, where OpenAI's clients look for it.", TEXT),
    "request-id": ("The same, where Anthropic's clients look for it.", TEXT),
    "traceparent": ("The W3C trace that the request belongs to.", TEXT),
    "WWW-Authenticate": ("How to show a token.", TEXT),
    "Retry-After": ("Seconds to wait.", {"type": "integer", "minimum": 1}),
    "x-should-retry": (
        "`false` if the same request would fail the same way.",
        {"type": "string", "enum": ["false"]},
    ),
    "RateLimit": ("What is left, of a token that has a rate.", TEXT),
    "RateLimit-Policy": ("The rate of the token, if it has one.", TEXT),
    "X-Gateway-Provider": ("The upstream that answered.", TEXT),
    "X-Gateway-Degraded": (
        "Whether it was not the first choice.",
        {"type": "string", "enum": ["true", "false"]},
    ),
    "X-Gateway-Fallback-Reason": ("Why not, if it was not.", TEXT),
    LEFT_OUT: ("What of the request was left out, so that it could be answered.", TEXT),
    "X-Gateway-Usage": (
        "`unknown`: nobody has counted the tokens, and a usage is zeros.",
        TEXT,
    ),
    "X-Gateway-Attempts": ("Upstreams asked, or passed over, for a chat.", COUNT),
    "X-Gateway-Choices": ("How many answers came, if fewer than `n` asked for.", COUNT),
    "X-Gateway-Audit-Id": ("The record of this very answer.", TEXT),
    "Server-Timing": ("Where the time went, in milliseconds.", TEXT),
    kept.RESULT: (
        "Where answers are cached: whether this one was.",
        {"type": "string", "enum": ["hit", "miss", "joined", "bypass"]},
    ),
    kept.STATUS: ("The same in the words of RFC 9211.", TEXT),
    "Age": ("Seconds since a cached answer was said first.", COUNT),
    kept.REPLAYED: (
        "There if this is the answer that the Idempotency-Key was given before.",
        {"type": "string", "enum": ["true"]},
    ),
}
