"""What every view may ask for: the services, the request, and which ids are usable.

Flask's proxies look for their object anew whenever a member of it is touched, which one
chat would do eighty times. `this_request` and `notes` return the object itself: the
request, and what its views note for each other (`flask.g`).
"""

from collections.abc import Callable

from flask import Flask, Request, current_app, g, request
from flask.ctx import _AppCtxGlobals
from werkzeug.exceptions import RequestURITooLarge

from app.gateway import correlation
from app.services import PerProcess, Services

EXTENSION = "gateway"
MAX_TARGET = 4096  # bytes of path and query; longer ones are answered 414


this_request: Callable[[], Request] = request._get_current_object  # type: ignore[attr-defined]
notes: Callable[[], _AppCtxGlobals] = g._get_current_object
_this_app: Callable[[], Flask] = current_app._get_current_object  # type: ignore[attr-defined]


def services() -> Services:
    """Return this process's services."""
    provider: PerProcess[Services] = _this_app().extensions[EXTENSION]
    return provider()


def environ_key(header: str) -> str:
    """The key of a request's header in the WSGI environment.

    To look there costs a tenth of what Werkzeug's headers do, which raise an error
    within for each header that is not there.
    """
    return f"HTTP_{header.upper().replace('-', '_')}"


def is_usable_id(shown: str, services: Services) -> bool:
    """Whether a correlation id from outside is well-formed and holds no secret."""
    return correlation.is_well_formed(shown) and not services.holds_secret(shown)


def refuse_long_targets() -> None:
    """Answer 414 before anything is looked at."""
    request = this_request()
    target = request.environ.get("RAW_URI") or request.full_path
    if len(target) > MAX_TARGET:
        raise RequestURITooLarge
