"""The document of the API, for programs and for people. It names no upstream."""

import json

from flask import Blueprint, Response, current_app
from flask.typing import ResponseReturnValue

from app.web.openapi.documented import Note, documented
from app.web.operator.console import STATIC, add_policy
from app.web.request.auth import public

bp = Blueprint("api_docs", __name__)
bp.after_request(add_policy)

EXTENSION = "gateway_document"
PAGE = STATIC / "api.html"  # made by `make docs`


@bp.get("/operator/api/openapi.json")
@public
@documented(Note("application/json"))
def get_document() -> ResponseReturnValue:
    """The document that you read: OpenAPI 3.1."""
    return Response(_document(), content_type="application/json")


@bp.get("/operator/api-docs")
@public
def get_page() -> ResponseReturnValue:
    """The API for people: every route, what it takes and what it answers."""
    return Response(PAGE.read_bytes(), content_type="text/html; charset=utf-8")


def _document() -> str:
    """The text, made when it is first asked for; those first at once make the same."""
    kept = current_app.extensions
    if EXTENSION not in kept:
        # The library takes 8 MB, which a worker does without until somebody reads.
        from app.web.openapi.document import make_document  # noqa: PLC0415

        kept[EXTENSION] = json.dumps(make_document(current_app))
    text: str = kept[EXTENSION]
    return text
