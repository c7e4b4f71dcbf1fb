"""The control API: faults switched on and off over HTTP, while the server runs.

It is served to loopback peers only; to anybody else it does not exist. A page for
people goes with it, which shows all stand-ins that were started together.
"""

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sandbox.breakage import Armed
from sandbox.faults import CATALOGUE
from sandbox.service import NOT_FOUND
from sandbox.wire import Answer, Request

PREFIX = "/sandbox/"
WANTED = {"fault", "times", "path", "params"}
ALL = "/sandbox/all"
PAGE = Path(__file__).with_name("page")
FILES = {
    "/sandbox/": ("index.html", "text/html; charset=utf-8"),
    "/sandbox/page.css": ("page.css", "text/css; charset=utf-8"),
    "/sandbox/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
LOOPBACK_NAMES = {"127.0.0.1", "localhost", "::1"}
NOT_ALLOWED = Answer.of({"detail": "Method Not Allowed"}, 405)
FOREIGN = Answer.of({"detail": "only the sandbox's own page may ask"}, 403)
UNREADABLE = Answer.of({"detail": "the body must be a JSON object"}, 422)

Break = Callable[[str, str | None, int | None, dict[str, Any]], None]


class Control:
    """Answers the routes under /sandbox/. Threads may share it.

    `all` are the controls, by name, of the stand-ins that the page shows.
    """

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
        self.all: dict[str, Control] = {}

    def answer(self, request: Request, peer: str) -> Answer:
        """Do what is asked, if the peer is on this very machine."""
        if not ip_address(peer).is_loopback:
            return NOT_FOUND
        if _is_foreign(request):
            return FOREIGN
        if request.path == ALL or request.path in FILES:
            return self._page(request) if request.method == "GET" else NOT_ALLOWED
        control, path = self._whose(request.path)
        if control is None or not any(path == known for _, known in self._routes):
            return NOT_FOUND
        route = control._routes.get((request.method, path))
        return route(request) if route else NOT_ALLOWED

    def _whose(self, path: str) -> tuple["Control | None", str]:
        """The control that a path is for, and the path as that one knows it."""
        if path.startswith(f"{ALL}/"):
            return self.all.get(path.removeprefix(f"{ALL}/")), "/sandbox/fault"
        return self, path

    def _page(self, request: Request) -> Answer:
        if request.path == ALL:
            shown = {name: control._told() for name, control in self.all.items()}
            return Answer.of({"stand_ins": shown})
        name, content_type = FILES[request.path]
        return Answer(200, (PAGE / name).read_bytes(), content_type, POLICY)

    def _told(self) -> dict[str, Any]:
        armed = self._armed()
        return armed.describe() if armed else {"fault": None}

    def _show(self, _request: Request) -> Answer:
        return Answer.of(self._told())

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


def _is_foreign(request: Request) -> bool:
    """Whether a browser asks for a page of somebody else, by whatever name."""
    origin = request.header("origin")
    is_own = origin == f"http://{request.header('host')}"
    return bool(origin) and not (is_own and urlsplit(origin).hostname in LOOPBACK_NAMES)


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
