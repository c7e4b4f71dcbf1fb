"""The ids that a request brings along: taken over once its caller is known."""

from flask import Request

from app.gateway import correlation, tracing
from app.services import Services
from app.web.request.context import environ_key, is_usable_id

CORRELATION, STATE = environ_key("X-Correlation-ID"), environ_key("tracestate")


def take_over_ids(request: Request, ours: Services) -> None:
    """Go on under the caller's correlation id and with his tracestate.

    An id that is missing or unusable is replaced, never reflected. It must not be
    called for whoever shows no valid token: a secret decides here what is usable.
    """
    shown = request.environ.get(CORRELATION, "")
    if shown and (shown := _only(shown)) and is_usable_id(shown, ours):
        correlation.current.set(shown)
    state = request.environ.get(STATE, "")
    if state and not ours.holds_secret(state):
        tracing.go_on_with(state)


def _only(header: str) -> str:
    """The value of a header; a repeated one is one if all its values are equal."""
    values = {value.strip() for value in header.split(",")}
    return values.pop() if len(values) == 1 else ""
