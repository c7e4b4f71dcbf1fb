"""The doors: how callers come in and answers go out.

Rule of this room: it is the only one that imports Flask. It parses,
calls the core once, and writes; it decides nothing about chat.
"""

from collections.abc import Callable
from typing import Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.routing import MapAdapter

from app.services import PerProcess, Services
from app.web.chat import completions, embeddings, models, openai
from app.web.chat import native as chat
from app.web.chat.anthropic import door as anthropic
from app.web.chat.responses import door as responses
from app.web.chat.sse import register_streams
from app.web.envelope import Envelope
from app.web.openapi import routes as api_docs
from app.web.operator import (
    console,
    evidence,
    metrics,
    ops,
    replays,
    tokens,
    upstreams,
    usage,
)
from app.web.operator import records as audit
from app.web.request.context import EXTENSION, refuse_long_targets
from app.web.request.cors import register_preflights
from app.web.request.errors import register_errors


class NoSessions(SessionInterface):
    """Sessions of browsers, of which there are none: each request shows its token."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002
        """Return what forbids to keep anything in it."""
        return NullSession()


class GatewayFlask(Flask):
    """Flask without what it looks for in each request and none of ours has.

    No function is a coroutine, nobody has a session, and doors are told by their path.
    """

    session_interface = NoSessions()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Match by path and method; the host is only for redirects."""
        if request is None:
            return None
        return MapAdapter(
            self.url_map,
            server_name=request.host,
            script_name=f"{request.root_path}/",
            subdomain="",
            url_scheme=request.scheme,
            path_info=request.path,
            default_method=request.method,
            query_args=request.query_string.decode("latin-1"),
        )

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is: all of ours are synchronous."""
        return func


def make_app(services: PerProcess[Services]) -> Flask:
    """Put all doors into one WSGI app; the services are asked for when needed."""
    app = GatewayFlask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # a redirect would be HTML, and lose the body
    app.extensions[EXTENSION] = services
    app.wsgi_app = Envelope(app.wsgi_app, services)  # type: ignore[method-assign]
    app.before_request(refuse_long_targets)
    register_preflights(app)
    register_errors(app)
    register_streams(app)
    openai_doors = (openai.bp, responses.bp, completions.bp, embeddings.bp, models.bp)
    records = (audit.bp, usage.bp, upstreams.bp, evidence.bp, replays.bp)
    pages = (console.bp, *records, tokens.bp, api_docs.bp)
    doors = (chat.bp, *openai_doors, anthropic.bp)
    for blueprint in (*doors, ops.bp, metrics.bp, *pages):
        app.register_blueprint(blueprint)
    return app
