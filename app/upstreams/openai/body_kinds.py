"""Which of two kinds a body is: one JSON value, or a stream of events.

Servers name no type or a wrong one, stream where nobody asked for it, and answer whole
where a stream was asked for. So the beginning of the body decides, except for pages:
those come from proxies and portals, and not a word of them is an answer.
"""

import re

from app.gateway.errors import BadReply
from app.upstreams.http.transport import JSON, Exchange

EVENTS = "text/event-stream"
PAGES = frozenset({"text/html", "application/xhtml+xml"})
BLANK = b" \t\r\n\xef\xbb\xbf"  # a byte order mark says nothing either

_EVENT = re.compile(rb"(?:data|event|id|retry|error)[ \t]*:|:")


def kind_of(exchange: Exchange, beginning: bytes) -> str:
    """Return JSON or EVENTS, by what is said of a body and how it begins.

    Raises BadReply if it is neither.
    """
    media_type = exchange.media_type
    text = beginning.lstrip(BLANK)
    if media_type not in PAGES:
        if _EVENT.match(text):
            return EVENTS
        if text[:1] in (b"{", b"[") and text:
            return JSON
        if media_type in (JSON, EVENTS):
            return media_type
    error = BadReply("bad_content_type")
    error.status, error.received = exchange.status, exchange.received
    raise error
