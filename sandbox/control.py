"""The control API: faults switched on and off over HTTP, while the server runs.

It is served to loopback peers only; to anybody else it does not exist. Browsers are
loopback peers, too, so what a page asks for is refused.
"""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from sandbox.breakage import Armed
from sandbox.faults import CATALOGUE
from sandbox.service import NOT_FOUND
from sandbox.wire import Answer, Request

PREFIX = "/sandbox/"
WANTED = {"fault", "times", "path", "params"}
FOREIGN_PAGE = Answer.of({"detail": "pages in browsers may not ask for this"}, 403)
UNREADABLE = Answer.of({"detail": "the body must be a JSON object"}, 422)

Break = Callable[[str, str | None, int | None, dict[str, Any]], None]


class Control:
    """Answers the routes under /sandbox/. Threads may share it."""

    def __init__(
        self,
        armed: Callable[[], Armed | None],
        break_with: Break,
        heal: Callable[[], None],
    ) -> None:
        self._armed = armed
        self._break_with = break_with
        self._heal = heal
        self._routes = {
            ("GET", "/sandbox/fault"): self._show,
            ("POST", "/sandbox/fault"): self._set,
            ("DELETE", "/sandbox/fault"): self._clear,
            ("GET", "/sandbox/faults"): _catalogue,
        }
        self._paths = {path for _, path in self._routes}

    def answer(self, request: Request, peer: str) -> Answer:
        """Do what is asked, if the peer is on this very machine."""
        if request.header("origin"):
            return FOREIGN_PAGE
        if not ip_address(peer).is_loopback or request.path not in self._paths:
            return NOT_FOUND
        if route := self._routes.get((request.method, request.path)):
            return route(request)
        return Answer.of({"detail": "Method Not Allowed"}, 405)

    def _show(self, _request: Request) -> Answer:
        armed = self._armed()
        return Answer.of(armed.describe() if armed else {"fault": None})

    def _set(self, request: Request) -> Answer:
        try:
            wish = request.json()
        except (ValueError, RecursionError):
            return UNREADABLE
        if not isinstance(wish, dict):
            return UNREADABLE
        if problem := _problem(wish):
            return Answer.of({"detail": problem}, 422)
        times, path = wish.get("times"), wish.get("path")
        try:
            self._break_with(wish["fault"], path, times, wish.get("params") or {})
        except ValueError as error:
            return Answer.of({"detail": str(error)}, 422)
        return self._show(request)

    def _clear(self, request: Request) -> Answer:
        self._heal()
        return self._show(request)


def _catalogue(_request: Request) -> Answer:
    return Answer.of({"faults": [fault.describe() for fault in CATALOGUE.values()]})


def _problem(wish: dict[str, Any]) -> str | None:
    """What is wrong with the types of a wish, in words; None if nothing is."""
    if unknown := wish.keys() - WANTED:
        return f"unknown field {min(unknown)!r}"
    if not isinstance(wish.get("fault"), str):
        return "fault must be the name of one"
    if type(wish.get("times")) not in (int, type(None)):
        return "times must be a whole number or null"
    if not isinstance(wish.get("path"), str | None):
        return "path must be a string or null"
    if not isinstance(wish.get("params"), dict | None):
        return "params must be an object or null"
    return None
