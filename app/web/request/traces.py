"""Traces: a request goes on with its caller's trace, and the answer names it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask

from app.gateway import tracing
from app.web.request.context import EXTENSION

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from app.services import PerProcess, Services


class Traced:
    """WSGI middleware: a trace is current for as long as a request is worked on.

    Flask writes all of an answer, streams too, before it tears its context down.
    """

    def __init__(
        self, app: "WSGIApplication", services: "PerProcess[Services]"
    ) -> None:
        self._app = app
        self._services = services

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        services, state = self._services(), environ.get("HTTP_TRACESTATE", "")
        trace = tracing.continued(
            environ.get("HTTP_TRACEPARENT", ""),
            "" if services.holds_secret(state) else state,
            sample=services.traces,
        )
        tracing.current.set(trace)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            headers.append(("traceparent", trace.header()))
            return start_response(status, headers, *rest)

        return self._app(environ, start)


def register_traces(app: Flask) -> None:
    """Put a trace around every request."""
    app.wsgi_app = Traced(  # type: ignore[method-assign]
        app.wsgi_app, app.extensions[EXTENSION]
    )
    app.teardown_request(_untrace)


def _untrace(_: BaseException | None) -> None:
    tracing.current.set(None)  # gthread's threads keep their context
