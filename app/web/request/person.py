"""The person and the session that a caller names who may speak for others."""

import re
from dataclasses import replace

from flask import abort, g

from app.gateway.chat import ChatRequest
from app.web.request.context import services, this_request
from app.web.request.errors import InvalidBody, error_response

MOST = 200  # characters
_WELL_FORMED = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MOST}}}")


def take_in_person() -> None:
    """Find the person whom the headers name, and use up one of that person's rate.

    Raises InvalidBody for a name that cannot be one, and answers 429 where the rate
    is used up.
    """
    g.person = None
    for header in services().persons.person_headers:
        if g.caller.names_people and (shown := this_request().headers.get(header)):
            _take_in(header, shown)
            return


def on_behalf(asked: ChatRequest, user: str | None = None) -> ChatRequest:
    """Say in a request for whom it is; `user` is whom its body names.

    The headers go first. Raises and answers as `take_in_person`.
    """
    if g.person is None and g.caller.names_people and user:
        _take_in("user", user)
    return replace(asked, person=g.person) if g.person else asked


def session_in_headers() -> str | None:
    """The session that the headers name, of a caller who may name people."""
    if not g.caller.names_people:
        return None
    headers = this_request().headers
    shown = map(headers.get, services().persons.session_headers)
    return next(filter(None, shown), None)


def is_name(text: str) -> bool:
    """Whether a text may name a person or a session: short, plain, no secret."""
    return bool(_WELL_FORMED.fullmatch(text)) and not services().holds_secret(text)


def _take_in(field: str, shown: str) -> None:
    if not is_name(shown):
        wanted = f"must be 1 to {MOST} characters, none of control, and no secret"
        raise InvalidBody({field: wanted})
    ours = services()
    standing = ours.persons.take(ours.rate_limits, g.caller.name, shown)
    g.person = shown
    if standing is not None and not standing.is_within:
        detail = "too many requests of this person"
        abort(error_response(429, "rate_limited", detail, retry_after=standing.reset))
