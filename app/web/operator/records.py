"""The records and the recent past, for operators' eyes: the console's and others'."""

from collections.abc import Sequence
from time import time

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from app.gateway.errors import AuditUnavailable, Overloaded, SearchTookTooLong
from app.gateway.records.activity import Window
from app.gateway.records.audit import Listed, Query, Record
from app.web.openapi.documented import Note, documented
from app.web.request.auth import token_required
from app.web.request.context import services
from app.web.request.json_response import json_response
from app.web.request.readers import takes_a_place
from app.web.schemas.activity import (
    ActivityPicture,
    ActivityPoint,
    Outage,
    OutageCause,
    OutageList,
)
from app.web.schemas.records import (
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
@documented(
    Note(
        RecordPage,
        query=RecordQuery,
        failures=(AuditUnavailable, Overloaded, SearchTookTooLong),
    )
)
@takes_a_place
def get_records() -> ResponseReturnValue:
    """Search the records, newest first."""
    asked = RecordQuery.parse(request.args.to_dict(flat=False))
    found = (
        _of_id(asked.id) if asked.id else services().records.listed(asked.to_query())
    )
    is_full = not asked.id and len(found) == asked.limit
    page = RecordPage(
        records=[RecordSummary.of(record) for record in found],
        next=place_behind(found[-1]) if is_full else None,
    )
    return json_response(page)


@bp.get("/records/<any_id>")
@token_required("audit")
@documented(
    Note(
        RecordDetail,
        path={"any_id": "The record's own id, or a correlation id."},
        failures=(AuditUnavailable, Overloaded),
    )
)
@takes_a_place
def get_record(any_id: str) -> ResponseReturnValue:
    """One record whole, by its own id, or the newest of a correlation id."""
    record = services().records.get(any_id)
    if record is None:
        raise NotFound
    return json_response(RecordDetail.of(record))


@bp.get("/activity")
@token_required("audit")
@documented(Note(ActivityPicture, failures=(AuditUnavailable, Overloaded)))
@takes_a_place
def get_activity() -> ResponseReturnValue:
    """The newest chats as points: when, how long, who, how it ended. Newest first."""
    now = time()
    moments = services().activity.recent(now - PICTURE, PICTURE_CHATS)
    return json_response(
        ActivityPicture(
            now=now,
            since=now - PICTURE,
            is_whole=len(moments) < PICTURE_CHATS,
            chats=[ActivityPoint.model_validate(moment) for moment in moments],
        )
    )


@bp.get("/windows")
@token_required("audit")
@documented(Note(OutageList, failures=(AuditUnavailable, Overloaded)))
@takes_a_place
def get_windows() -> ResponseReturnValue:
    """When chats were degraded, unanswered or refused, why, how long. Newest first."""
    now = time()
    windows = services().activity.windows(now - HISTORY, HISTORY_WINDOWS)
    return json_response(
        OutageList(
            now=now, since=now - HISTORY, windows=[_outage(one) for one in windows]
        )
    )


def _outage(window: Window) -> Outage:
    causes = [OutageCause(cause=c, chats=n) for c, n in window.causes]
    return Outage(
        kind=window.kind,
        began=window.began,
        ended=window.ended,
        chats=window.chats,
        causes=causes,
    )


def _of_id(any_id: str) -> Sequence[Record | Listed]:
    """The record of that id, else all that share the correlation id."""
    found = services().records.get(any_id)
    if found is None or found.id == any_id:
        return (found,) if found else ()
    return services().records.listed(Query(correlation_id=any_id))
