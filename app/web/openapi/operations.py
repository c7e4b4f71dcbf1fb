"""What there is to tell of a route: its scope, and every way of not being answered."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from app.web.openapi.documented import NOTE, Note, Refusal
from app.web.request.auth import RATED, SCOPE
from app.web.request.caller_error import is_anthropic_path, is_openai_path
from app.web.request.errors import OPENAI_STATUS

# A part of a path that is asked for, whatever it may hold.
_CONVERTED = re.compile(r"<(?:\w+:)?(\w+)>")

VERBS = ("GET", "POST", "PUT", "DELETE")
TOO_LONG = Refusal(414, "request_uri_too_long", "path and query are too long")
BUG = Refusal(500, "internal_error", "the gateway made a mistake")
NOT_FOUND = Refusal(404, "not_found", "there is no such thing")
INVALID = Refusal(422, "invalid_request", "something breaks its schema; it is named")
OF_TOKENS = (
    Refusal(401, "auth_required", "no token was shown"),
    Refusal(429, "too_many_failed_auth", "too many wrong tokens from there"),
)
MAY_NOT = Refusal(403, "forbidden", "the token may not do this")
WRONG = Refusal(401, "invalid_api_key", "the token is wrong")
WRONG_OR_MAY_NOT = Refusal(403, "forbidden", "the token is wrong, or may not do this")
OVER_RATE = Refusal(429, "rate_limited", "the token comes too often")
OF_BODIES = (
    Refusal(400, "bad_request", "the body is not framed as HTTP asks"),
    Refusal(408, "request_timeout", "the body did not arrive in time"),
    Refusal(413, "request_entity_too_large", "the body is too large"),
    Refusal(415, "unsupported_media_type", "the body is not plain JSON"),
    INVALID,
)


class Wire(Enum):
    """Whose shapes a door answers in."""

    OURS = "ours"
    OPENAI = "OpenAI's"
    ANTHROPIC = "Anthropic's"


@dataclass(frozen=True, slots=True)
class Operation:
    """A route with one method, and what its view notes of itself."""

    rule: Rule
    view: Any
    note: Note

    @property
    def door(self) -> str:
        """The blueprint that it belongs to."""
        return str(self.rule.endpoint).partition(".")[0]

    @property
    def path(self) -> str:
        """Its path as OpenAPI writes it."""
        return _CONVERTED.sub(r"{\1}", self.rule.rule)

    @property
    def wire(self) -> Wire:
        """In whose shapes it answers."""
        if is_anthropic_path(self.path):
            return Wire.ANTHROPIC
        return Wire.OPENAI if is_openai_path(self.path) else Wire.OURS

    @property
    def method(self) -> str:
        """Its method in lower case; a view has one."""
        return next(verb for verb in VERBS if verb in (self.rule.methods or ())).lower()

    @property
    def scope(self) -> str | None:
        """What the token must hold; None: no token is asked for."""
        scope: str | None = getattr(self.view, SCOPE)
        return scope

    @property
    def is_rated(self) -> bool:
        """Whether a request uses up the token's rate."""
        return getattr(self.view, RATED, False)

    def refusals(self) -> Iterator[Refusal]:
        """Every way of not being answered, as the door words it."""
        for one in self._refusals():
            if self.wire is not Wire.OURS:
                status = OPENAI_STATUS.get((one.status, one.code), one.status)
                yield replace(one, status=status)
            else:
                yield one

    def _refusals(self) -> Iterator[Refusal]:
        note = self.note
        yield from (TOO_LONG, BUG)
        yield from self._of_tokens() if self.scope else ()
        yield from (OVER_RATE,) if self.is_rated else ()
        yield from OF_BODIES if note.body else ()
        yield from (INVALID,) if note.query else ()
        told = tuple(note.all_refusals())
        has_404 = any(refusal.status == 404 for refusal in told)
        yield from (NOT_FOUND,) if note.path and not has_404 else ()
        yield from told

    def _of_tokens(self) -> tuple[Refusal, ...]:
        is_ours = self.wire is Wire.OURS
        own = (WRONG_OR_MAY_NOT,) if is_ours else (WRONG, MAY_NOT)
        return (*OF_TOKENS, *own)


def operations(app: Flask) -> Iterator[Operation]:
    """Every route of an app whose view has a note."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        note = getattr(view, NOTE, None)
        if note is not None:
            yield Operation(rule, view, note)
