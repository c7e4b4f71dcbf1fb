"""Kept answers at the doors: what requests say of them, and what answers tell."""

import re
from collections.abc import Mapping
from time import time

from app.gateway.chat import ChatReply, ChatRequest
from app.gateway.errors import KeyMalformed
from app.gateway.kept.reuse import IDEMPOTENCY, CacheControl, Caching
from app.web.request.context import environ_key, this_request

KEY = "Idempotency-Key"
CONTROL = "Cache-Control"
REPLAYED = "Idempotent-Replayed"
RESULT = "X-Gateway-Cache"
STATUS = "Cache-Status"
_KEY_SHOWN, _CONTROL = environ_key(KEY), environ_key(CONTROL)

# A string of structured fields (RFC 9651), or the same without its quotes.
_KEY = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"|([!#-~][!-~]{0,254})')
_ESCAPED = re.compile(r"\\(.)")
LONGEST_AGE = 2**31  # seconds; more means the same (RFC 9111, section 1.2.2)
_SECONDS = re.compile(r"[0-9]{1,10}")


def with_wishes(asked: ChatRequest) -> ChatRequest:
    """Take in a request's Idempotency-Key and what it says of cached answers.

    Raises KeyMalformed.
    """
    shown = this_request().environ
    key, control = shown.get(_KEY_SHOWN), shown.get(_CONTROL)
    if key is not None:
        asked = asked._replace(idempotency_key=_key(key))
    if control:
        asked = asked._replace(cache_control=cache_control(control))
    return asked


def cache_control(shown: str) -> CacheControl:
    """Read the directives of RFC 9111 that mean something here; others are ignored."""
    told: dict[str, str] = {}
    for directive in shown.split(","):
        name, _, value = directive.partition("=")
        told.setdefault(name.strip().lower(), value.strip(' \t"'))
    age = told.get("max-age")
    return CacheControl(
        no_store="no-store" in told,
        no_cache="no-cache" in told,
        only_if_cached="only-if-cached" in told,
        max_age=None if age is None else _seconds(age),
    )


def headers_of(reply: ChatReply) -> Mapping[str, str]:
    """What an answer's headers tell of the cache and of a key; nothing for most."""
    headers = {}
    if reply.reuse and reply.reuse.by == IDEMPOTENCY:
        headers[REPLAYED] = "true"
    if caching := reply.caching:
        headers[RESULT] = caching.result
        headers[STATUS] = f"vx11; {_status(caching)}"
        if caching.result in ("hit", "joined"):
            headers["Age"] = str(caching.age)
    return headers


def began_at(reply: ChatReply) -> int:
    """When the answer began to be said, at first; Unix time."""
    return int(reply.said.began if reply.said else time())


def ended_at(reply: ChatReply) -> int:
    """When it had been said, at first; Unix time."""
    return int(reply.said.ended if reply.said else time())


def took(reply: ChatReply, seconds: float) -> float:
    """How many seconds it took at first; `seconds` if this is the first time."""
    return reply.said.total if reply.said else seconds


def as_asked_first(asked: ChatRequest, reply: ChatReply) -> ChatRequest:
    """The request with the ids of the one that was answered at first."""
    said = reply.said
    if said is None:
        return asked
    return asked._replace(
        correlation_id=said.correlation_id, session_id=said.session_id
    )


def _key(shown: str) -> str:
    found = _KEY.fullmatch(shown.strip(" \t"))
    if found is None:
        raise KeyMalformed
    return found[2] or _ESCAPED.sub(r"\1", found[1])


def _seconds(shown: str) -> int:
    """Seconds of a directive; none where it says nothing that can be one."""
    return min(int(shown), LONGEST_AGE) if _SECONDS.fullmatch(shown) else 0


def _status(caching: Caching) -> str:
    """The parameters of RFC 9211."""
    if caching.result == "hit":
        return f"hit; ttl={caching.ttl}"
    if caching.result == "joined":
        return f"fwd=miss; collapsed; ttl={caching.ttl}"
    stored = "; stored" if caching.is_stored else ""
    return f"fwd={caching.result}{stored}"
