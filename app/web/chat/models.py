"""The models that a request may name: upstreams and routes, as OpenAI lists them."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.web.chat.chat_headers import record_refusal
from app.web.openapi.documented import Note, Refusal, documented
from app.web.request.auth import token_required
from app.web.request.context import services
from app.web.request.errors import error_response
from app.web.request.json_response import json_response
from app.web.schemas.completions import Model, ModelList

bp = Blueprint("models", __name__, url_prefix="/v1")
bp.after_request(record_refusal)

UNKNOWN = Refusal(404, "model_not_found", "neither an upstream nor a route")


@bp.get("/models")
@token_required("chat")
@documented(Note(ModelList))
def get_models() -> ResponseReturnValue:
    """The names that `model` may hold to choose an upstream or a route."""
    data = [Model.of(one) for one in services().models.listed]
    return json_response(ModelList(object="list", data=data))


@bp.get("/models/<path:model>")
@token_required("chat")
@documented(
    Note(Model, path={"model": "A name that `model` may hold."}, refusals=(UNKNOWN,))
)
def get_model(model: str) -> ResponseReturnValue:
    """One of the names that `model` may hold, listed or caught by a route's glob."""
    found = services().models.find(model)
    if found is None:
        detail = "there is neither an upstream nor a route of that name"
        return error_response(UNKNOWN.status, UNKNOWN.code, detail)
    return json_response(Model.of(found))
