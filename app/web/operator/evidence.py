"""What the records prove, for operators' eyes: why chats went wrong."""

from collections.abc import Callable
from time import monotonic, time

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from app.gateway.errors import AuditUnavailable, Overloaded, SearchTookTooLong
from app.gateway.evidence.explanation import explain
from app.gateway.evidence.reporting import report
from app.web.openapi.documented import Note, documented
from app.web.request.auth import token_required
from app.web.request.context import services
from app.web.request.json_response import json_response
from app.web.request.readers import takes_a_place
from app.web.schemas.evidence import (
    AnchorQuery,
    AnchorState,
    Explanation,
    ReportBody,
    ReportQuery,
)

bp = Blueprint("evidence", __name__, url_prefix="/operator/api")

TIME_LIMIT = 8.0  # seconds; a day of 100,000 chats takes two or three


@bp.get("/report")
@token_required("audit")
@documented(
    Note(
        ReportBody,
        query=ReportQuery,
        failures=(AuditUnavailable, Overloaded, SearchTookTooLong),
    )
)
@takes_a_place
def get_report() -> ResponseReturnValue:
    """Every minute in which a fallback or nobody answered, and why. Oldest first."""
    now = time()
    since, until = ReportQuery.parse(request.args.to_dict(flat=False)).span(now)
    made = report(
        services().evidence, since, until, now=now, on_progress=_within(TIME_LIMIT)
    )
    return json_response(ReportBody.model_validate(made))


@bp.get("/anchor")
@token_required("audit")
@documented(
    Note(AnchorState, query=AnchorQuery, failures=(AuditUnavailable, Overloaded))
)
@takes_a_place
def get_anchor() -> ResponseReturnValue:
    """Whether a head of earlier is still part of the records' chain."""
    asked = AnchorQuery.parse(request.args.to_dict(flat=False))
    return json_response(AnchorState(state=services().evidence.anchored(asked.head)))


@bp.get("/records/<any_id>/explanation")
@token_required("audit")
@documented(
    Note(
        Explanation,
        path={"any_id": "The record's own id, or a correlation id."},
        failures=(AuditUnavailable, Overloaded),
    )
)
@takes_a_place
def get_explanation(any_id: str) -> ResponseReturnValue:
    """Why the chat of one record went as it did, in sentences."""
    record = services().records.get(any_id)
    if record is None:
        raise NotFound
    sentences = explain(record, services().evidence)
    return json_response(Explanation(id=record.id, sentences=list(sentences)))


def _within(seconds: float) -> Callable[[float], None]:
    deadline = monotonic() + seconds

    def check(_: float) -> None:
        if monotonic() > deadline:
            raise SearchTookTooLong

    return check
