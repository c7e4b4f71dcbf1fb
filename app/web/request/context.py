"""What every view may ask for: the services, the request, and which ids are usable."""

from flask import Request, current_app
from flask.globals import request_ctx
from werkzeug.exceptions import RequestURITooLarge

from app.gateway import correlation
from app.services import PerProcess, Services

EXTENSION = "gateway"
MAX_TARGET = 4096  # bytes of path and query; longer ones are answered 414


def services() -> Services:
    """Return this process's services."""
    provider: PerProcess[Services] = current_app.extensions[EXTENSION]
    return provider()


def this_request() -> Request:
    """Return the request itself.

    Flask's `request` looks for it anew whenever it is touched, and a chat touches it
    forty times.
    """
    return request_ctx.request


def is_usable_id(shown: str, services: Services) -> bool:
    """Whether a correlation id from outside is well-formed and holds no secret."""
    return correlation.is_well_formed(shown) and not services.holds_secret(shown)


def refuse_long_targets() -> None:
    """Answer 414 before anything is looked at."""
    request = this_request()
    target = request.environ.get("RAW_URI") or request.full_path
    if len(target) > MAX_TARGET:
        raise RequestURITooLarge
