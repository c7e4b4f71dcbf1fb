"""The console: pages for people. They are public shells and hold no datum.

Whatever they show is fetched by their scripts, with the token that the reader
signed in with. There is no cookie, so there is nothing that a foreign page could
make a browser send.
"""

from functools import cache
from pathlib import Path

from flask import Blueprint, Response, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, NotFound

from app.version import VERSION
from app.web.request.auth import public
from app.web.request.context import services
from app.web.request.errors import http_error

bp = Blueprint("console", __name__)

STATIC = Path(__file__).parents[1] / "static"
VENDOR = STATIC / "vendor"  # other people's libraries, as they publish them
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Trusted types make the browser itself refuse to turn any text into markup, but for
# what DOMPurify has cleaned.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)


@bp.get("/")
@bp.get("/operator")
@public
def get_root() -> ResponseReturnValue:
    """To the console: whoever opens the bare address is a person.

    Flask itself would lead from /operator to whatever host the request names.
    """
    return redirect("/operator/")


@bp.get("/operator/")
@public
def get_chat_page() -> ResponseReturnValue:
    """Talk to the gateway."""
    return _page("chat")


@bp.get("/operator/health")
@public
def get_health_page() -> ResponseReturnValue:
    """How the gateway and its upstreams are."""
    return _page("health")


@bp.get("/operator/records")
@public
def get_records_page() -> ResponseReturnValue:
    """Find what was asked and answered."""
    return _page("records")


@bp.get("/operator/usage")
@public
def get_usage_page() -> ResponseReturnValue:
    """Who used how much."""
    return _page("usage")


@bp.get("/operator/tokens")
@public
def get_tokens_page() -> ResponseReturnValue:
    """Who may come in."""
    return _page("tokens")


@bp.get("/operator/outages")
@public
def get_outages_page() -> ResponseReturnValue:
    """Why chats were not answered by their first choice."""
    return _page("outages")


@bp.get("/operator/static/<name>")
@public
def get_static(name: str) -> ResponseReturnValue:
    """A style sheet, script or picture of the console."""
    body = _files().get(name)
    if body is None:
        raise NotFound
    return Response(body, content_type=TYPES[Path(name).suffix])


@bp.app_errorhandler(404)
def get_missing_page(error: HTTPException) -> Response:
    """A page for a person who asks for one that is not there; JSON for all others."""
    if not _is_for_a_person():
        return http_error(error)
    return add_policy(make_response(_page("missing"), 404))


def _is_for_a_person() -> bool:
    """Whether a browser asks for a page of the console, and not for data."""
    path, wanted = request.path, request.headers.get("Accept", "")
    is_page = path.startswith("/operator/") and not path.startswith("/operator/api/")
    return is_page and request.method == "GET" and "text/html" in wanted.lower()


@bp.after_request
def add_policy(response: Response) -> Response:
    """Let the pages load nothing from elsewhere, run nothing inline, be in no frame."""
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _page(name: str) -> str:
    return render_template(
        f"{name}.html",
        page=name,
        version=VERSION,
        is_open=services().keyring is None,  # then there is nothing to sign in with
        sandbox_page=services().sandbox_page,
    )


@cache
def _files() -> dict[str, bytes]:
    """Every file that may be asked for; nothing else can be reached by any name."""
    return {
        path.name: path.read_bytes()
        for folder in (STATIC, VENDOR)
        for path in folder.iterdir()
        if path.suffix in TYPES
    }
