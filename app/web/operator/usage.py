"""Usage: who asked for how much, day by day."""

from time import time

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from app.gateway.errors import AuditUnavailable, Overloaded, SearchTookTooLong
from app.gateway.records.usage import CALLERS_MAX, usage_by_day
from app.web.openapi.documented import Note, documented
from app.web.request.auth import token_required
from app.web.request.context import services
from app.web.request.json_response import json_response
from app.web.request.readers import takes_a_place
from app.web.schemas.operator.usage import (
    UsageDay,
    UsageEntry,
    UsageQuery,
    UsageReport,
)

bp = Blueprint("usage", __name__, url_prefix="/operator/api")


@bp.get("/usage")
@token_required("audit")
@documented(
    Note(
        UsageReport,
        query=UsageQuery,
        failures=(AuditUnavailable, Overloaded, SearchTookTooLong),
    )
)
@takes_a_place
def get_usage() -> ResponseReturnValue:
    """Count chats, tokens and errors by caller, or by person, for each day of UTC."""
    asked = UsageQuery.parse(request.args.to_dict(flat=False))
    now = time()
    by_person = asked.by == "person"
    counted = usage_by_day(services().activity, now, asked.days, by_person=by_person)
    is_cut = any(len(day.usage) >= CALLERS_MAX for day in counted)
    return json_response(
        UsageReport(
            now=now,
            since=counted[-1].began,
            is_whole=len(counted) == asked.days and not is_cut,
            days=[
                UsageDay(
                    began=day.began,
                    usage=[UsageEntry.model_validate(one) for one in day.usage],
                )
                for day in counted
            ],
        )
    )
