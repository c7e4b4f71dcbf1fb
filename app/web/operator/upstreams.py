"""Upstreams: where they are, how calls to them went, and how they are right now."""

from concurrent.futures import CancelledError
from time import monotonic, time

from flask import Blueprint
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from app.gateway.errors import AuditUnavailable, Overloaded
from app.gateway.guard.call_history import RecentCalls
from app.gateway.records.call_figures import CallFigures, call_figures
from app.web.openapi.documented import Note, documented
from app.web.operator.records import PICTURE, PICTURE_CHATS
from app.web.request.auth import token_required
from app.web.request.context import services
from app.web.request.json_response import json_response
from app.web.request.readers import takes_a_place
from app.web.schemas.operator.upstreams import (
    FailedCall,
    HealthAnswer,
    UpstreamCard,
    UpstreamCards,
)

bp = Blueprint("upstreams", __name__, url_prefix="/operator/api")

ASK_LIMIT = 10.0  # seconds that an answer is waited for; a probe has its own limit


@bp.get("/upstreams")
@token_required("audit")
@documented(Note(UpstreamCards, failures=(AuditUnavailable, Overloaded)))
@takes_a_place
def get_upstreams() -> ResponseReturnValue:
    """Each upstream's address, and how the newest calls to it went."""
    now = time()
    moments = services().activity.recent(now - PICTURE, PICTURE_CHATS)
    is_whole = len(moments) < PICTURE_CHATS
    figures = call_figures(moments)
    return json_response(
        UpstreamCards(
            now=now,
            since=now - PICTURE if is_whole else moments[-1].opened_at,
            upstreams=[
                _card(name, figures.get(name, CallFigures()), now)
                for name in services().upstreams
            ],
        )
    )


@bp.post("/upstreams/<name>/health")
@token_required("audit")
@documented(
    Note(HealthAnswer, path={"name": "The upstream's."}, failures=(Overloaded,))
)
@takes_a_place
def post_upstream_health(name: str) -> ResponseReturnValue:
    """Ask an upstream for its health now; those who ask at once share one answer."""
    if name not in services().upstreams:
        raise NotFound
    began = monotonic()
    if not services().health.is_probed(name):
        return json_response(
            HealthAnswer(status="unprobed", reason="not probed", took=0.0)
        )
    try:
        is_alive = services().inquire(name).result(ASK_LIMIT)
    except (TimeoutError, CancelledError):
        return json_response(
            HealthAnswer(status="unknown", reason="not asked", took=monotonic() - began)
        )
    verdict = services().health.verdict(name)
    reason = "ok" if is_alive else (verdict.reason if verdict else "down")
    return json_response(
        HealthAnswer(
            status="up" if is_alive else "down",
            reason=reason,
            took=monotonic() - began,
        )
    )


def _card(name: str, figures: CallFigures, now: float) -> UpstreamCard:
    known = services().board.history.recent(name)
    where = services().where.get(name)
    return UpstreamCard(
        name=name,
        kind=where.kind if where else "",
        address=where.url if where else "",
        calls=figures.calls,
        failures=figures.failures,
        error_rate=figures.error_rate,
        p50=figures.quantile(0.5),
        p95=figures.quantile(0.95),
        last_success=_wall_time(known.succeeded_at, now),
        last_failure=_last_failure(known, figures, now),
    )


def _last_failure(
    known: RecentCalls, figures: CallFigures, now: float
) -> FailedCall | None:
    """The one on record if it is among the newest chats, else what is kept of it."""
    if (on_record := figures.last_failure) is not None:
        return FailedCall(
            at=on_record.at, fault=on_record.fault, record=on_record.record
        )
    at = _wall_time(known.failed_at, now)
    if at is None:
        return None
    return FailedCall(at=at, fault=known.fault, record=known.correlation_id)


def _wall_time(shared: float | None, now: float) -> float | None:
    """What the clock on the wall showed at a time of the shared clock."""
    if shared is None:
        return None
    return now - (services().board.shared.now() - shared)
