"""Break it: the sandbox's faults, switched on and off from the console.

Without a sandbox these routes answer 404, as if they were not there.
"""

import logging
from typing import Annotated, Any, Self

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from werkzeug.exceptions import NotFound

from app.gateway.fault_panel import FaultPanel, Wish, WishRefused
from app.web.openapi.documented import Note, Refusal, documented
from app.web.request.auth import token_required
from app.web.request.body import read_json
from app.web.request.context import services
from app.web.request.errors import InvalidBody
from app.web.request.json_response import json_response
from app.web.schemas.chat import WHOLE, reasons
from app.web.schemas.sandbox import Fault, KnownFault, Panel

log = logging.getLogger(__name__)

bp = Blueprint("sandbox", __name__, url_prefix="/operator/api/sandbox")

NAME = {"name": "The stand-in's name."}
REFUSALS = (
    Refusal(404, "not_found", "there is no sandbox, or no stand-in of that name"),
    Refusal(503, "upstream_unavailable", "the stand-in cannot be reached"),
)

Knob = Annotated[str, Field(max_length=1000)] | bool | int | float


class FaultWish(BaseModel):
    """Body of `POST /operator/api/sandbox/<name>/fault`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    fault: str = Field(max_length=64, description="A name of the catalogue.")
    times: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        default=None, description="Chats that shall suffer it; null: all."
    )
    params: dict[str, Knob] = Field(default_factory=dict, max_length=8)

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Validate a JSON value; raise InvalidBody naming every bad field."""
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise InvalidBody(reasons(error)) from None


@bp.get("")
@token_required("admin", rated=False)
@documented(Note(Panel, refusals=REFUSALS))
def get_panel() -> ResponseReturnValue:
    """Every stand-in with the fault that is on, and the faults there are."""
    panel = _panel()
    return json_response(
        Panel(
            services={n: Fault.model_validate(panel.fault(n)) for n in panel.names},
            faults=[KnownFault.model_validate(fault) for fault in panel.catalogue()],
        )
    )


@bp.post("/<name>/fault")
@token_required("admin", rated=False)
@documented(
    Note(
        Fault,
        body=FaultWish,
        example={"fault": "slow", "times": 2},
        path=NAME,
        refusals=REFUSALS,
    )
)
def post_fault(name: str) -> ResponseReturnValue:
    """Switch a fault on, in place of the one before."""
    panel = _panel_with(name)
    body = FaultWish.parse(read_json(request, services().max_body))
    try:
        fault = panel.break_with(name, Wish(body.fault, body.times, body.params))
    except WishRefused as refusal:
        raise InvalidBody({"fault": str(refusal)}) from None
    log.warning("%s breaks %s of the sandbox: %s", g.caller.name, name, body.fault)
    return json_response(Fault.model_validate(fault))


@bp.delete("/<name>/fault")
@token_required("admin", rated=False)
@documented(Note(Fault, path=NAME, refusals=REFUSALS))
def delete_fault(name: str) -> ResponseReturnValue:
    """Switch the fault off."""
    fault = _panel_with(name).heal(name)
    log.warning("%s heals %s of the sandbox", g.caller.name, name)
    return json_response(Fault.model_validate(fault))


def _panel() -> FaultPanel:
    panel = services().fault_panel
    if panel is None:
        raise NotFound
    return panel


def _panel_with(name: str) -> FaultPanel:
    panel = _panel()
    if name not in panel.names:
        raise NotFound
    return panel
