"""Authentication: decided from the headers alone, before a body is read.

In this order: no token 401, a wrong one 403 (below /v1 401), a known one that may not
do this 403, one that comes too often 429.
"""

import math
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import Request, Response, after_this_request
from flask.typing import ResponseReturnValue

from app.gateway.access.rate_limits import UNHEARD, WINDOW, Standing
from app.gateway.access.tokens import ANYBODY, Caller, Keyring
from app.services import Services
from app.web.request.context import environ_key, notes, services, this_request
from app.web.request.errors import error_response, is_openai
from app.web.request.ids import take_over_ids
from app.web.request.local_host import is_local
from app.web.request.person import take_in_person
from app.web.request.source import source_of

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])

SCOPE = "__gateway_scope__"
ANY = "any"  # in place of a scope: every valid token will do
RATED = "__gateway_is_rated__"
API_KEYS = ("X-Api-Key", "Api-Key")  # of Anthropic's clients, and of Azure's
_TOKEN, _BEARERS = environ_key("X-VX11-Token"), environ_key("Authorization")
_API_KEYS = tuple(map(environ_key, API_KEYS))
MOST_TOKENS = 4  # in one request; each is compared with all that there are
BEARER = re.compile(r"\Abearer(?: +|$)", re.IGNORECASE)


def token_required(scope: str, *, rated: bool = True) -> Callable[[View], View]:
    """Guard a view: the caller's token must be valid and hold the scope, or ANY.

    A view that is `rated` uses up the token's rate. The view finds its caller in
    `notes().caller`.
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


def shown_tokens(request: Request) -> list[bytes]:
    """Return the tokens that were shown, each once, X-VX11-Token before Bearer.

    A proxy may send either header twice, or put a token of its own behind the
    caller's, and WSGI joins repeated headers by commas. API_KEYS are looked at where
    neither is there.
    """
    shown = request.environ
    values = _values(shown.get(_TOKEN, "")) + _bearers(shown.get(_BEARERS, ""))
    for header in _API_KEYS:
        values = values or _values(shown.get(header, ""))
    return [value.encode("latin-1", "replace") for value in dict.fromkeys(values)]


def _values(header: str) -> list[str]:
    return [value for part in header.split(",") if (value := part.strip())]


def _bearers(header: str) -> list[str]:
    """The values of `Bearer T` or `Bearer T,Bearer T`; none of another scheme."""
    if not header:
        return []
    values = _values(header)
    if not (values and BEARER.match(values[0])):
        return []
    return [bare for value in values if (bare := BEARER.sub("", value))]


def _refusal(scope: str, *, rated: bool) -> ResponseReturnValue | None:
    ours, request = services(), this_request()
    caller = _anybody() if ours.keyring is None else _authenticate(request, ours)
    if not isinstance(caller, Caller):
        return caller
    notes().caller = caller
    take_over_ids(request, ours)
    if scope not in (ANY, *caller.scopes):
        return _forbidden()
    if not rated:
        return None
    take_in_person(
        request, ours
    )  # first, so that one person's rate costs the others nothing
    return _over_limits(caller)


def _anybody() -> Caller | ResponseReturnValue:
    if is_local(this_request().headers.get("Host", "")):
        return ANYBODY
    return error_response(
        403, "forbidden", "without authentication, Host must be an address or local"
    )


def _authenticate(request: Request, ours: Services) -> Caller | ResponseReturnValue:
    tokens, failed = shown_tokens(request), ours.failed_auth
    source = source_of(request, ours.trusted_proxies)
    if not tokens:
        failed.note(source, "missing")
        return _unknown("auth_required", "auth_required")
    if not failed.look(source).is_within:
        return _too_many(failed.note(source, UNHEARD))
    if (caller := _caller_of(tokens, ours.keyring)) is not None:
        return caller
    standing = failed.note(source, "wrong")
    return _wrong_token() if standing.is_within else _too_many(standing)


def _too_many(standing: Standing) -> Response:
    return error_response(
        429,
        "too_many_failed_auth",
        "too many failed authentications",
        retry_after=standing.reset,
    )


def _caller_of(tokens: list[bytes], keyring: Keyring | None) -> Caller | None:
    """Whose the first token is; None if any of them is not valid, or they are many."""
    if keyring is None or len(tokens) > MOST_TOKENS:
        return None
    callers = [keyring.authenticate(token) for token in tokens]
    return None if None in callers else callers[0]


def _wrong_token() -> Response:
    """What each door's clients know a wrong token by."""
    if is_openai():
        return _unknown("invalid_api_key", "the API key is wrong")
    return _forbidden()


def _unknown(code: str, detail: str) -> Response:
    response = error_response(401, code, detail)
    response.headers["WWW-Authenticate"] = 'Bearer realm="operator"'
    return response


def _forbidden() -> Response:
    return error_response(403, "forbidden", "forbidden")


def _over_limits(caller: Caller) -> ResponseReturnValue | None:
    if caller.rate is not None:
        refusal = _over_rate(caller.name, caller.rate)
        if refusal is not None:
            return refusal
    if caller.volume is not None:
        return _over_volume(caller.name, caller.volume)
    return None


def _over_volume(name: str, volume: int) -> ResponseReturnValue | None:
    """Use up some of the volume: what the body is announced to be, before it is read.

    One that announces no length may be as long as any.
    """
    request, size = this_request(), this_request().content_length
    if size is None:
        is_chunked = "Transfer-Encoding" in request.headers
        size = services().max_body if is_chunked else 0
    size = min(size, services().max_body)
    standing = services().rate_limits.take(f"bytes:{name}", volume, size)
    if standing.is_within:
        return None
    return error_response(
        429, "rate_limited", "too many bytes", retry_after=standing.reset
    )


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
