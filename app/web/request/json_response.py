"""Wire models as answers."""

from flask import Response
from pydantic import BaseModel


def json_response(model: BaseModel) -> Response:
    """Answer with a wire model, without the fields that were never set."""
    body = model.model_dump_json(exclude_unset=True)
    return Response(body, content_type="application/json")
