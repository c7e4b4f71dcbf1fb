"""What surrounds every request: services, correlation id, headers of every answer."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, current_app
from flask.globals import request_ctx
from werkzeug.exceptions import RequestURITooLarge
from werkzeug.wsgi import ClosingIterator

from app.gateway import correlation
from app.services import PerProcess, Services
from app.web.request.caller_error import is_openai_path

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Header = tuple[str, str]

EXTENSION = "gateway"
ON_ALL = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
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


def single_value(header: str) -> str:
    """Collapse a repeated header whose values are all equal; "" if they differ."""
    values = {part.strip() for part in header.split(",")}
    return values.pop() if len(values) == 1 else ""


def is_usable_id(shown: str, services: Services) -> bool:
    """Whether a correlation id from outside is well-formed and holds no secret."""
    return correlation.is_well_formed(shown) and not services.holds_secret(shown)


class Correlated:
    """WSGI middleware: the request's correlation id is current until its last byte.

    An id that is missing or unusable is replaced, never reflected. gthread
    threads keep their context, so it is always reset. The headers of every answer
    are added here, where they cost next to nothing.
    """

    def __init__(self, app: "WSGIApplication", services: PerProcess[Services]) -> None:
        self._app = app
        self._services = services

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        shown = single_value(environ.get("HTTP_X_CORRELATION_ID", ""))
        known = shown and is_usable_id(shown, self._services())
        token = correlation.current.set(shown if known else correlation.new_id())

        def reset() -> None:
            correlation.current.reset(token)

        def start(status: str, headers: list[Header], *rest: Any) -> Any:
            here = correlation.current.get()
            headers += [("X-Correlation-ID", here), *ON_ALL]
            if is_openai_path(environ.get("PATH_INFO", "")):
                headers.append(("X-Request-Id", here))  # where its clients look for it
            return start_response(status, headers, *rest)

        try:
            body = self._app(environ, start)
        except BaseException:
            reset()
            raise
        return ClosingIterator(body, reset)


def register_context(app: Flask) -> None:
    """Put the correlation id, and the headers of every answer, around all doors."""
    app.before_request(_refuse_long_targets)
    app.wsgi_app = Correlated(  # type: ignore[method-assign]
        app.wsgi_app, app.extensions[EXTENSION]
    )


def _refuse_long_targets() -> None:
    request = this_request()
    target = request.environ.get("RAW_URI") or request.full_path
    if len(target) > MAX_TARGET:
        raise RequestURITooLarge
