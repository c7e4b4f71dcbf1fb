"""The records and the recent past, for operators' eyes: the console's and others'."""

from dataclasses import asdict
from time import time

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel
from werkzeug.exceptions import NotFound

from app.gateway.audit import Query, Record
from app.web.auth import token_required
from app.web.context import services
from app.web.record_schemas import (
    RecordDetail,
    RecordPage,
    RecordQuery,
    RecordSummary,
    place_behind,
)

bp = Blueprint("audit", __name__, url_prefix="/operator/api")

PICTURE = 15 * 60.0  # seconds that the pictures of the health page look back
PICTURE_CHATS = 1000  # and chats at most; reading them takes about 10 ms
HISTORY = 7 * 86400.0  # seconds that the list of outages looks back
HISTORY_WINDOWS = 50


@bp.get("/records")
@token_required("audit")
def get_records() -> ResponseReturnValue:
    """Search the records, newest first."""
    asked = RecordQuery.parse(request.args.to_dict(flat=False))
    found = (
        _of_id(asked.id) if asked.id else services().records.search(asked.to_query())
    )
    is_full = not asked.id and len(found) == asked.limit
    page = RecordPage(
        records=[RecordSummary.of(record) for record in found],
        next=place_behind(found[-1]) if is_full else None,
    )
    return _json(page)


@bp.get("/records/<any_id>")
@token_required("audit")
def get_record(any_id: str) -> ResponseReturnValue:
    """One record whole, by its own id, or the newest of a correlation id."""
    record = services().records.get(any_id)
    if record is None:
        raise NotFound
    return _json(RecordDetail.of(record))


@bp.get("/activity")
@token_required("audit", rated=False)
def get_activity() -> ResponseReturnValue:
    """The newest chats as points: when, how long, who, how it ended. Newest first.

    `is_whole` tells whether these are all since then, or only as many as are shown.
    """
    now = time()
    moments = services().activity.recent(now - PICTURE, PICTURE_CHATS)
    return jsonify(
        now=now,
        since=now - PICTURE,
        is_whole=len(moments) < PICTURE_CHATS,
        chats=[asdict(moment) for moment in moments],
    )


@bp.get("/windows")
@token_required("audit", rated=False)
def get_windows() -> ResponseReturnValue:
    """When the first choice did not answer, why, and for how long. Newest first."""
    now = time()
    windows = services().activity.windows(now - HISTORY, HISTORY_WINDOWS)
    return jsonify(
        now=now,
        since=now - HISTORY,
        windows=[
            {
                "began": window.began,
                "ended": window.ended,
                "chats": window.chats,
                "causes": [{"cause": c, "chats": n} for c, n in window.causes],
            }
            for window in windows
        ],
    )


def _of_id(any_id: str) -> tuple[Record, ...]:
    """The record of that id, else all that share the correlation id."""
    found = services().records.get(any_id)
    if found is None or found.id == any_id:
        return (found,) if found else ()
    return services().records.search(Query(correlation_id=any_id))


def _json(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), mimetype="application/json")
