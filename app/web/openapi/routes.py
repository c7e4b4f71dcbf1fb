"""The document of the API, for programs and for people. It names no upstream."""

import json
from functools import cached_property
from typing import Any

from flask import Blueprint, Flask, Response, current_app, render_template
from flask.sansio.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue

from app.version import VERSION
from app.web.openapi.documented import Note, documented
from app.web.openapi.page import Page
from app.web.operator.console import add_policy
from app.web.request.auth import public

bp = Blueprint("api_docs", __name__)
bp.after_request(add_policy)

EXTENSION = "gateway_document"


class ApiDocument:
    """The document of one app in both forms, each made when it is first asked for.

    Threads may share it: those that are first at once make the same.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app

    @cached_property
    def _made(self) -> dict[str, Any]:
        # The library takes 8 MB, which a worker does without until somebody reads.
        from app.web.openapi.document import make_document  # noqa: PLC0415

        return make_document(self._app)

    @cached_property
    def document(self) -> str:
        """The document itself."""
        return json.dumps(self._made)

    @cached_property
    def page(self) -> str:
        """The page that is made of it."""
        api = Page(self._made)
        sections = list(api.sections())
        return render_template(
            "api.html", api=api, sections=sections, page="api", version=VERSION
        )


@bp.get("/operator/api/openapi.json")
@public
@documented(Note("application/json"))
def get_document() -> ResponseReturnValue:
    """The document that you read: OpenAPI 3.1."""
    return Response(_texts().document, content_type="application/json")


@bp.get("/operator/api-docs")
@public
def get_page() -> ResponseReturnValue:
    """The API for people: every route, what it takes and what it answers."""
    return _texts().page


def _texts() -> ApiDocument:
    texts: ApiDocument = current_app.extensions[EXTENSION]
    return texts


@bp.record
def _belong_to(state: BlueprintSetupState) -> None:
    state.app.extensions[EXTENSION] = ApiDocument(state.app)  # type: ignore[arg-type]
