"""CORS: pages of other origins that may ask, where the settings name them.

A preflight carries no token, so it is answered before anybody looks for one; what it
allows is only to ask. Without the setting a browser is told nothing, as before.
"""

import re
from collections.abc import Container, Iterator

from flask import Flask, Response
from flask.globals import request_ctx

from app.web.request.caller_error import is_openai_path
from app.web.request.context import services, this_request

ANY = "*"
CHAT = "/operator/api/chat"
MAX_AGE = 600  # seconds for which a browser need not ask again

# Names of headers, as a browser lists those that a page wants to send.
_NAMES = re.compile(r"[\w-]+(?: ?, ?[\w-]+)*", re.ASCII)

EXPOSED = (
    "X-Correlation-ID",
    "X-Request-Id",
    "request-id",
    "X-Gateway-Provider",
    "X-Gateway-Degraded",
    "X-Gateway-Fallback-Reason",
    "X-Gateway-Left-Out",
    "X-Gateway-Usage",
    "X-Gateway-Attempts",
    "X-Gateway-Audit-Id",
    "Server-Timing",
    "X-Gateway-Cache",
    "Cache-Status",
    "Age",
    "Idempotent-Replayed",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "x-should-retry",
    "traceparent",
)

Header = tuple[str, str]


def cors_headers(path: str, origin: str, allowed: Container[str]) -> Iterator[Header]:
    """The headers by which a page of that origin may read an answer, if any.

    An answer differs by its origin, also for those who may not read it.
    """
    if not allowed or not is_open(path):
        return
    yield "Vary", "Origin"
    if origin and (origin in allowed or ANY in allowed):
        yield "Access-Control-Allow-Origin", origin
        yield "Access-Control-Expose-Headers", ", ".join(EXPOSED)


def is_open(path: str) -> bool:
    """Whether pages of other origins may be let in there: where chats are asked."""
    return path == CHAT or is_openai_path(path)


def register_preflights(app: Flask) -> None:
    """Answer preflights before anything else is looked at."""
    app.before_request(_preflight)


def _preflight() -> Response | None:
    """The answer to a preflight of an allowed origin; None for all else."""
    request = this_request()
    if request.method != "OPTIONS":
        return None
    allowed = services().cors_origins
    if not allowed or not is_open(request.path):
        return None
    method = request.headers.get("Access-Control-Request-Method")
    origin = request.headers.get("Origin", "")
    if not method or not (origin in allowed or ANY in allowed):
        return None
    response = Response(status=204)
    del response.headers["Content-Type"]  # of nothing
    response.headers["Access-Control-Allow-Methods"] = ", ".join(_methods())
    response.headers["Access-Control-Max-Age"] = str(MAX_AGE)
    wanted = request.headers.get("Access-Control-Request-Headers", "").strip()
    if _NAMES.fullmatch(wanted):
        response.headers["Access-Control-Allow-Headers"] = wanted
    return response


def _methods() -> list[str]:
    """What there is at the path, whatever the browser asks for."""
    adapter = request_ctx.url_adapter
    return sorted(set(adapter.allowed_methods()) - {"HEAD"}) if adapter else []
