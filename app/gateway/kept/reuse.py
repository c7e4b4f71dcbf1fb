"""Reuse: what callers say of kept answers, and what they are told of them."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from app.gateway.chat import Attempt


class CacheControl(NamedTuple):
    """What a caller says of cached answers, in the words of HTTP (RFC 9111).

    `no_store`: take none and keep none. `no_cache`: take none. `only_if_cached`: take
    one, or fail. `max_age`: take one that is at most so many seconds old.
    """

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: int | None = None


ANYHOW = CacheControl()


class Said(NamedTuple):
    """How an answer was said at first, so that it can be said again in the same bytes.

    `audit_id` is that of its record, "" while it is being said. `began` and `ended` are
    Unix times. `queued`, `first` and `total` are the seconds after which it was worked
    on, begun and over.
    """

    audit_id: str
    correlation_id: str
    session_id: str
    began: float
    ended: float
    queued: float
    first: float
    total: float
    attempts: "tuple[Attempt, ...]" = ()


CACHE, IDEMPOTENCY = "cache", "idempotency"


class Reuse(NamedTuple):
    """Whose answer a reply repeats: by CACHE or IDEMPOTENCY, and the first record."""

    by: str
    source: str


class Caching(NamedTuple):
    """What the cache did for a reply: hit, miss, joined or bypass.

    `age` and `ttl` are in seconds, for an answer that was kept. `is_stored` says that
    this one will be.
    """

    result: str
    age: int = 0
    ttl: int = 0
    is_stored: bool = False
