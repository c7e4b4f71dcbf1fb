"""What all stand-ins have in common: routes, and refusals in the words of FastAPI."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.wire import Answer, Request, encode

if TYPE_CHECKING:
    from sandbox.exchange import Exchange

View = Callable[[Request], Answer]
Problem = dict[str, Any]

NOT_FOUND = Answer.of({"detail": "Not Found"}, 404)
BROKEN = Answer(500, b"Internal Server Error", "text/plain; charset=utf-8")
UNREADABLE = Answer.of({"detail": "There was an error parsing the body"}, 400)


@dataclass(frozen=True, slots=True)
class Events:
    """A streamed answer: server-sent events, each with the empty line behind it."""

    opening: bytes
    words: list[bytes]
    closing: list[bytes]
    done: bytes

    def joined(self) -> bytes:
        """All of them."""
        return b"".join((self.opening, *self.words, *self.closing, self.done))


class Service(ABC):
    """A stand-in for one service; it keeps no state, so threads may share it.

    `text_fields` are the fields of a reply that hold its text, the best first;
    `latency` is the time in seconds that an answer takes.
    """

    latency: float = 0.0
    name: str
    chat_path: str
    text_fields: tuple[str, ...]
    routes: Mapping[str, Mapping[str, View]]

    @abstractmethod
    def reply(self, request: Request) -> dict[str, Any]:
        """The body of a proper 200, whatever the request looks like."""

    @abstractmethod
    def failure(self, status: str, text: str) -> dict[str, Any]:
        """The body of a 200 that says in its `status` that it is a failure."""

    def saying(self, request: Request, text: object) -> dict[str, Any]:
        """The body of a proper 200 with something else in the place of its text."""
        return {**self.reply(request), **dict.fromkeys(self.text_fields, text)}

    def events(self, request: Request) -> Events:
        """What a stream would hold; a service that does not stream has one event."""
        return Events(b"", [b"data: " + encode(self.reply(request)) + b"\n\n"], [], b"")

    def serve(self, x: "Exchange") -> None:
        """Answer a request properly."""
        x.respond(x.answer())

    def answer(self, request: Request) -> Answer:
        """What the real service would answer; never raises."""
        path = request.path
        if views := self.routes.get(path):
            view = views.get(request.method)
            return view(request) if view else _not_allowed(views)
        if path.endswith("/") and path.rstrip("/") in self.routes:
            host = request.header("host")
            return Answer(307, headers={"location": f"http://{host}{path.rstrip('/')}"})
        return NOT_FOUND

    def health(self, _request: Request) -> Answer:
        """Alive: a GET of /health, without a token."""
        return Answer.of({"status": "ok", "module": self.name, "sandbox": True})


def parse(request: Request) -> Any | Answer:
    """The body's JSON value, or the answer that refuses it (422, 400)."""
    try:
        return request.json()
    except json.JSONDecodeError as error:
        return invalid([_problem("json_invalid", error.pos, "JSON decode error")])
    except (ValueError, RecursionError):  # ValueError: not UTF-8, or a huge number
        return UNREADABLE


def invalid(problems: Iterable[Problem]) -> Answer:
    """Refuse a request whose body has these problems."""
    return Answer.of({"detail": list(problems)}, 422)


def wrong_types(body: Any, expected: Mapping[str, tuple[type, ...]]) -> list[Problem]:
    """The problems of the fields that are there and are of another type."""
    if not isinstance(body, dict):
        return [
            {"type": "model_attributes_type", "loc": ["body"], "msg": "Not a model"}
        ]
    return [
        _problem(f"{types[0].__name__}_type", name, f"Not a valid {types[0].__name__}")
        for name, types in expected.items()
        if name in body and not isinstance(body[name], types)
    ]


def missing(body: Mapping[str, Any], name: str) -> list[Problem]:
    """The problem of a required field that is not there, if it is not."""
    return [] if name in body else [_problem("missing", name, "Field required")]


def lone_surrogate(texts: Iterable[str]) -> bool:
    """Whether any of the texts can not be written as UTF-8."""
    return any("\ud800" <= char <= "\udfff" for text in texts for char in text)


def _problem(kind: str, where: object, message: str) -> Problem:
    return {"type": kind, "loc": ["body", where], "msg": message}


def _not_allowed(views: Mapping[str, View]) -> Answer:
    return Answer.of({"detail": "Method Not Allowed"}, 405, allow=", ".join(views))
