"""The person and the session that a caller names who may speak for others."""

import re

from flask import Request, abort

from app.gateway.chat import ChatRequest
from app.services import Services
from app.web.request.context import environ_key, notes, services, this_request
from app.web.request.errors import InvalidBody, error_response

MOST = 200  # characters
_WELL_FORMED = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MOST}}}")


def take_in_person(request: Request, ours: Services) -> None:
    """Find the person whom the headers name, and use up one of that person's rate.

    Raises InvalidBody for a name that cannot be one, and answers 429 where the rate
    is used up.
    """
    here = notes()
    here.person = None
    if not here.caller.names_people:
        return
    for header in ours.persons.person_headers:
        if shown := request.environ.get(environ_key(header)):
            _take_in(header, shown)
            return


def on_behalf(asked: ChatRequest, user: str | None = None) -> ChatRequest:
    """Say in a request for whom it is; `user` is whom its body names.

    The headers go first. Raises and answers as `take_in_person`.
    """
    here = notes()
    if user and here.person is None and here.caller.names_people:
        _take_in("user", user)
    return asked._replace(person=here.person) if here.person else asked


def session_in_headers() -> str | None:
    """The session that the headers name, of a caller who may name people."""
    if not notes().caller.names_people:
        return None
    keys = map(environ_key, services().persons.session_headers)
    shown = map(this_request().environ.get, keys)
    return next(filter(None, shown), None)


def is_name(text: str) -> bool:
    """Whether a text may name a person or a session: short, plain, no secret."""
    return bool(_WELL_FORMED.fullmatch(text)) and not services().holds_secret(text)


def _take_in(field: str, shown: str) -> None:
    if not is_name(shown):
        wanted = f"must be 1 to {MOST} characters, none of control, and no secret"
        raise InvalidBody({field: wanted})
    ours, here = services(), notes()
    standing = ours.persons.take(ours.rate_limits, here.caller.name, shown)
    here.person = shown
    if standing is not None and not standing.is_within:
        detail = "too many requests of this person"
        abort(error_response(429, "rate_limited", detail, retry_after=standing.reset))
