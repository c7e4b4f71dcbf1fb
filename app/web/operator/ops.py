"""Operations: is it alive, is it ready, what does it know of its upstreams."""

from datetime import UTC, datetime
from typing import Any, Literal

from flask import Blueprint, g
from flask.typing import ResponseReturnValue

from app.gateway.chain.admission_queue import HostLoad
from app.gateway.errors import AuditUnavailable, ShuttingDown
from app.gateway.guard.breaker import NAMES
from app.gateway.guard.guarded import Obstacle
from app.version import VERSION
from app.web.openapi.documented import Note, documented
from app.web.request.auth import ANY, public, token_required
from app.web.request.context import services
from app.web.request.errors import error_response
from app.web.request.json_response import json_response
from app.web.schemas.ops import (
    AdmissionState,
    CallerState,
    CallsState,
    Health,
    Identity,
    ObstacleState,
    OperatorHealth,
    Policy,
    Readiness,
    Status,
    StatusData,
    TokenState,
    UpstreamState,
)

bp = Blueprint("ops", __name__)


@bp.get("/health")
@public
@documented(Note(Health))
def get_health() -> ResponseReturnValue:
    """The process answers; nothing else is asked."""
    return json_response(
        Health(
            ok=True,
            status="ok",
            module="operator",
            version=VERSION,
            timestamp=datetime.now(UTC),
        )
    )


@bp.get("/operator/api/health")
@public
@documented(Note(OperatorHealth))
def get_operator_health() -> ResponseReturnValue:
    """The same in the words of the operator backend."""
    return json_response(
        OperatorHealth(status="ok", service="operator_backend", version=VERSION)
    )


@bp.get("/readyz")
@public
@documented(Note(Readiness, failures=(ShuttingDown, AuditUnavailable)))
def get_readiness() -> ResponseReturnValue:
    """200 if a chat sent now would be accepted, else 503 and why not."""
    if services().drain.is_final:
        return error_response(503, ShuttingDown.code, "the gateway is shutting down")
    try:
        services().trail.check()
    except AuditUnavailable as error:
        return error_response(503, error.code, str(error))
    return json_response(Readiness(status="ready"))


@bp.get("/operator/api/whoami")
@token_required(ANY, rated=False)
@documented(Note(Identity))
def get_whoami() -> ResponseReturnValue:
    """Whose token was shown; every valid one may ask."""
    caller = g.caller
    return json_response(
        Identity.model_validate(
            {
                "name": caller.name,
                "scopes": sorted(caller.scopes),
                "class": caller.priority.name.lower(),
            }
        )
    )


@bp.get("/operator/api/status")
@token_required("chat", rated=False)
@documented(Note(Status))
def get_status() -> ResponseReturnValue:
    """What the gateway knows, in both shapes that clients read."""
    order = services().upstreams
    known = StatusData(
        policy=Policy(order=list(order), deadline_s=services().deadline),
        core_services={name: _upstream(name) for name in order},
        timestamp=datetime.now(UTC),
    )
    caller = CallerState(name=g.caller.name, scopes=sorted(g.caller.scopes))
    return json_response(
        Status(
            ok=True,
            data=known,
            policy=known.policy,
            core_services=known.core_services,
            timestamp=known.timestamp,
            tokens=_tokens(),
            caller=caller,
            sandbox=services().sandbox_page is not None,
            admission=_admission(),
        )
    )


def _tokens() -> TokenState:
    """Whether the file of tokens is in effect; what is wrong with it is logged."""
    keyring = services().keyring
    if keyring is None:
        return TokenState(status="off")
    problems = len(keyring.problems)
    return TokenState(status="stale" if problems else "ok", problems=problems)


def _upstream(name: str) -> UpstreamState:
    """Its health as it is known now; nobody is asked for it."""
    if not services().health.is_probed(name):
        return UpstreamState(status="unprobed", reason="not probed", **_guard(name))
    verdict = services().health.verdict(name)
    if verdict is None:
        return UpstreamState(status="unknown", reason="not asked yet", **_guard(name))
    status: Literal["up", "down"] = "up" if verdict.is_healthy else "down"
    return UpstreamState(status=status, reason=verdict.reason, **_guard(name))


def _guard(upstream: str) -> dict[str, Any]:
    """What its guard knows, as the whole host sees it: circuit, obstacle, calls."""
    guard = services().guards.get(upstream)
    if guard is None:
        return {}
    known: dict[str, Any] = {"breaker": NAMES[guard.phase]}
    if obstacle := guard.obstacle():
        known["obstacle"] = _obstacle(obstacle)
    if guard.cap.limit is not None:
        running, limit = guard.cap.running, guard.cap.limit
        known["calls"] = CallsState(running=running, limit=limit)
    return known


def _obstacle(obstacle: Obstacle) -> ObstacleState:
    facts: dict[str, Any] = {"reason": obstacle.reason}
    if obstacle.wait is not None:
        facts["for_s"] = round(obstacle.wait, 1)
    if obstacle.is_for_one:
        facts["for_one_caller"] = True
    return ObstacleState(**facts)


def _admission() -> AdmissionState:
    """What is taken on the whole host, or in this worker if that is not known."""
    gate = services().gate
    if gate is None:
        return AdmissionState()
    host = services().host_load()
    known = host or HostLoad(workers=1, slots=gate.limits.slots, load=gate.load())
    return AdmissionState(
        scope="host" if host else "worker",
        workers=known.workers,
        busy=known.load.busy,
        slots=known.slots,
        waiting=known.load.waiting,
        queue=known.workers * gate.limits.queue,
        streams=known.load.streams,
        stream_slots=known.workers * gate.limits.streams,
    )
