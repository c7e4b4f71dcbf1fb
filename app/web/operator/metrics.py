"""Metrics: what Prometheus comes for.

On the address of callers it needs a token with the scope `metrics`. An address of its
own (VX11_METRICS_BIND) serves this and nothing else, without a token: whoever can
reach it may look.
"""

import json
import socket
from typing import TYPE_CHECKING

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from app.services import Services
from app.web.openapi.documented import Note, Refusal, documented
from app.web.request.auth import token_required
from app.web.request.context import services
from app.web.request.errors import error_response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

bp = Blueprint("metrics", __name__)

PATH = "/metrics"
UNAVAILABLE = "metrics_unavailable", "nothing is measured"
TEXT = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' own format


@bp.get(PATH)
@token_required("metrics", rated=False)
@documented(Note("text/plain", refusals=(Refusal(503, *UNAVAILABLE),)))
def get_metrics() -> ResponseReturnValue:
    """All that is measured, of all workers, in Prometheus' text format."""
    page = services().metrics_page
    if page is None:
        return error_response(503, *UNAVAILABLE)
    return Response(page(), content_type=TEXT)


def answer_apart(environ: "WSGIEnvironment", services: Services) -> Response | None:
    """The answer to what came in by the address of the metrics; None: it did not."""
    if services.metrics_bind is None or not came_by(environ, services.metrics_bind):
        return None
    asked = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if asked not in {("GET", PATH), ("HEAD", PATH)}:
        return _refusal(404, "not_found", "not found")
    if services.metrics_page is None:
        return _refusal(503, *UNAVAILABLE)
    return Response(services.metrics_page(), content_type=TEXT)


def came_by(environ: "WSGIEnvironment", bind: str) -> bool:
    """Whether a request came in by that address: HOST:PORT or unix:PATH.

    Told by the connection itself, because a caller can write any header. Ports are
    enough: the settings see to it that the two differ.
    """
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return False
    here = connection.getsockname()
    if connection.family == socket.AF_UNIX:
        return bind == f"unix:{here}"
    return bind.rpartition(":")[2] == str(here[1])


def _refusal(status: int, code: str, detail: str) -> Response:
    body = json.dumps({"detail": detail, "code": code})
    return Response(body, status, content_type="application/json")
