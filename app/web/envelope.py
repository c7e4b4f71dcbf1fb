"""The envelope of a request: its correlation id, its trace, its answer's headers."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from app.gateway import correlation, tracing
from app.services import PerProcess, Services
from app.web.operator.metrics import answer_apart
from app.web.request.caller_error import id_headers
from app.web.request.cors import cors_headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Header = tuple[str, str]

ON_ALL = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]


class Envelope:
    """WSGI middleware: correlation id and trace are current until the last byte.

    Both are fresh until the caller is known (see `ids`): what a stranger shows is
    never compared with a secret, so he can learn nothing of one by what comes back.

    What comes in by the address of the metrics is answered here and gets no further.
    The headers of every answer are added here, where they cost next to nothing.
    """

    def __init__(self, app: "WSGIApplication", services: PerProcess[Services]) -> None:
        self._app = app
        self._services = services

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        services = self._services()
        tracing.current.set(None)  # an answer that nobody has closed may have left its
        token = correlation.current.set(correlation.new_id())
        more: list[Header] = []

        def reset() -> None:  # gthread's threads keep their context
            tracing.current.set(None)
            correlation.current.reset(token)

        def start(status: str, headers: list[Header], *rest: Any) -> Any:
            here = correlation.current.get()
            path = environ.get("PATH_INFO", "")
            headers += [*more, *id_headers(path, here), *ON_ALL]
            if services.cors_origins:
                origin = environ.get("HTTP_ORIGIN", "")
                headers += cors_headers(path, origin, services.cors_origins)
            return start_response(status, headers, *rest)

        try:
            apart = answer_apart(environ, services)
            if apart is None:
                trace = _trace(environ, services)
                tracing.current.set(trace)
                more.append(("traceparent", trace.header()))
            body = (apart or self._app)(environ, start)
        except BaseException:
            reset()
            raise
        return _Body(body, reset)


class _Body:
    """A body that says when it is out; PEP 3333 asks whoever sends it to close it."""

    __slots__ = ("_body", "_on_close")

    def __init__(self, body: Iterable[bytes], on_close: Callable[[], None]) -> None:
        self._body, self._on_close = body, on_close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            if close := getattr(self._body, "close", None):
                close()
        finally:
            self._on_close()


def _trace(environ: "WSGIEnvironment", services: Services) -> tracing.Trace:
    """The caller's trace, gone on with, or a new one; its state comes with a token."""
    shown = environ.get("HTTP_TRACEPARENT", "")
    return tracing.continued(shown, sample=services.traces)
