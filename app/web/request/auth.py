"""Authentication: decided from the headers alone, before a body is read.

In this order: no token 401, a wrong one 403, a known one that may not do this 403,
one that comes too often 429.
"""

import math
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import Request, Response, after_this_request, g
from flask.typing import ResponseReturnValue

from app.gateway.access.rate_limits import WINDOW, Standing
from app.gateway.access.tokens import ANYBODY, Caller, Keyring
from app.web.request.context import services, this_request
from app.web.request.errors import error_response
from app.web.request.source import source_of

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])

SCOPE = "__gateway_scope__"
ANY = "any"  # in place of a scope: every valid token will do
RATED = "__gateway_is_rated__"
API_KEY = "X-Api-Key"
BEARER = re.compile(r"\Abearer(?: +|$)", re.IGNORECASE)


def token_required(scope: str, *, rated: bool = True) -> Callable[[View], View]:
    """Guard a view: the caller's token must be valid and hold the scope, or ANY.

    A view that is `rated` uses up the token's rate. The view finds its caller in
    `g.caller`.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:
            refusal = _refusal(scope, rated=rated)
            return refusal if refusal is not None else view(*args, **kwargs)

        setattr(guarded, SCOPE, scope)
        setattr(guarded, RATED, rated)
        return guarded  # type: ignore[return-value]

    return decorate


def public(view: View) -> View:
    """Declare that a view needs no token; a test walks all routes for this."""
    setattr(view, SCOPE, None)
    return view


def shown_token(request: Request) -> bytes | None:
    """Return the token that was shown, b"" if those shown differ, None if none.

    A proxy may send either header twice, and WSGI joins repeated headers by commas:
    equal values count as one. Clients of Anthropic show theirs as API_KEY, which is
    looked at where no other is there.
    """
    values = set(_values(request.headers.get("X-VX11-Token", "")))
    values.update(_bearers(request.headers.get("Authorization", "")))
    values = values or set(_values(request.headers.get(API_KEY, "")))
    if len(values) > 1:
        return b""
    return values.pop().encode("latin-1", "replace") if values else None


def _values(header: str) -> list[str]:
    return [value for part in header.split(",") if (value := part.strip())]


def _bearers(header: str) -> list[str]:
    """The values of `Bearer T` or `Bearer T,Bearer T`; none of another scheme."""
    values = _values(header)
    if not (values and BEARER.match(values[0])):
        return []
    return [bare for value in values if (bare := BEARER.sub("", value))]


def _refusal(scope: str, *, rated: bool) -> ResponseReturnValue | None:
    keyring = services().keyring
    caller = ANYBODY if keyring is None else _authenticate(keyring)
    if not isinstance(caller, Caller):
        return caller
    g.caller = caller
    if scope not in (ANY, *caller.scopes):
        return _forbidden()
    if rated and caller.rate is not None:
        return _over_rate(caller.name, caller.rate)
    return None


def _authenticate(keyring: Keyring) -> Caller | ResponseReturnValue:
    token = shown_token(this_request())
    if token is None:
        _note_failure("missing")
        response = error_response(401, "auth_required", "auth_required")
        response.headers["WWW-Authenticate"] = 'Bearer realm="operator"'
        return response
    caller = keyring.authenticate(token)
    if caller is not None:
        return caller
    standing = _note_failure("wrong")
    if standing.is_within:
        return _forbidden()
    return error_response(
        429,
        "too_many_failed_auth",
        "too many failed authentications",
        retry_after=standing.reset,
    )


def _note_failure(reason: str) -> Standing:
    source = source_of(this_request(), services().trusted_proxies)
    return services().failed_auth.note(source, reason)


def _forbidden() -> Response:
    return error_response(403, "forbidden", "forbidden")


def _over_rate(name: str, rate: int) -> ResponseReturnValue | None:
    """Use up one of the rate; all tokens of a name draw on the same one."""
    standing = services().rate_limits.take(f"token:{name}", rate)

    @after_this_request
    def tell(response: Response) -> Response:
        response.headers.update(_headers(standing))
        return response

    if standing.is_within:
        return None
    return error_response(
        429, "rate_limited", "too many requests", retry_after=standing.reset
    )


def _headers(standing: Standing) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers-11 asks."""
    reset = math.ceil(standing.reset)
    return {
        "RateLimit-Policy": f'"default";q={standing.quota};w={WINDOW}',
        "RateLimit": f'"default";r={standing.remaining};t={reset}',
    }
