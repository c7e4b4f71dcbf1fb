"""What a view says of itself for the document of the API (see `openapi_document`).

A note beside the view, and nothing else: requests are handled as if it were not
there, so authentication still comes before validation.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask.typing import ResponseReturnValue
from pydantic import BaseModel

from app.gateway.errors import CONSEQUENCES, CallerGone, GatewayError
from app.web.request.errors import DETAILS

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])

NOTE = "__gateway_note__"

# How a chat can fail, by whichever door it came in. The one that is left out leaves
# nobody to be told of it.
CHAT_FAILURES = tuple(kind for kind in DETAILS if kind is not CallerGone)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way of not being answered: the status, its code, and what that means."""

    status: int
    code: str
    meaning: str

    @classmethod
    def of(cls, kind: type[GatewayError]) -> "Refusal":
        """Tell a class of failure as a door answers it."""
        known = next(base for base in kind.__mro__ if base in CONSEQUENCES)
        meaning = next(DETAILS[base] for base in kind.__mro__ if base in DETAILS)
        return cls(CONSEQUENCES[known].status, kind.code, meaning)


NOT_SERVED = Refusal(404, "not_found", "no upstream is declared to serve this")


@dataclass(frozen=True, slots=True)
class Note:
    """What a view takes and gives.

    `answer` is the wire model of the 200, or the media type of one that is no JSON.
    `events` are the events of a stream: their names ("" for none), each with its wire
    model, or with the text that it is. `path` describes the parameters in the path;
    `headers` are the request headers that this view heeds, `answer_headers` those of
    its 200. `failures` and `refusals` are those beyond what its scope, body, query and
    path bring with them. `example` is a body that works.
    """

    answer: type[BaseModel] | str
    body: type[BaseModel] | None = None
    example: Mapping[str, Any] | None = None
    query: type[BaseModel] | None = None
    path: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    answer_headers: tuple[str, ...] = ()
    events: tuple[tuple[str, type[BaseModel] | str], ...] = ()
    failures: tuple[type[GatewayError], ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def models(self) -> Iterator[type[BaseModel]]:
        """The wire models of its body, its answer and its events."""
        shown = (self.body, self.answer, *(what for _, what in self.events))
        yield from (what for what in shown if isinstance(what, type))

    def all_refusals(self) -> Iterator[Refusal]:
        """The failures among them too, as a door answers them."""
        yield from self.refusals
        yield from map(Refusal.of, self.failures)


def documented(note: Note) -> Callable[[View], View]:
    """Put a note on a view."""

    def decorate(view: View) -> View:
        setattr(view, NOTE, note)
        return view

    return decorate
