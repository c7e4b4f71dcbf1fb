"""Operations: is it alive, is it ready, what does it know of its upstreams."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flask import Blueprint, g
from flask.typing import ResponseReturnValue

from app.gateway import correlation
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
    GatewayState,
    Health,
    HostState,
    Identity,
    Module,
    ObstacleState,
    OperatorData,
    OperatorHealth,
    PolicyWord,
    Readiness,
    ReasonState,
    RecentCallsState,
    Routing,
    SettingsInForce,
    Status,
    StatusData,
    TokenState,
    UpstreamState,
)

bp = Blueprint("ops", __name__)
OK = "ok"
REFUSALS = {
    ShuttingDown.code: "the gateway is shutting down",
    AuditUnavailable.code: "the audit record cannot be written",
}

MODULE_STATUS: dict[str, Literal["running", "down", "unknown"]] = {
    "up": "running",
    "down": "down",
    "unknown": "unknown",
    "unprobed": "unknown",
}


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
    """The process answers, with the fields of the operator backend."""
    return json_response(
        OperatorHealth(status="ok", service="operator_backend", version=VERSION)
    )


@bp.get("/readyz")
@public
@documented(Note(Readiness, failures=(ShuttingDown, AuditUnavailable)))
def get_readiness() -> ResponseReturnValue:
    """200 if this gateway would take on a chat now, else 503; strangers get no reason.

    Upstreams that are out do not count: a balancer would take all gateways away.
    """
    board = services().board
    if refusal := board.refusal():
        return error_response(503, refusal.code, REFUSALS[refusal.code])
    return json_response(Readiness(status="ready", state=board.now().state.value))


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
    states = {name: _upstream(name) for name in order}
    asked = [name for name, state in states.items() if _is_asked(state)]
    known = StatusData(
        status="ok",
        degraded=len(asked) < len(order),
        policy=_policy(asked),
        routing=Routing(order=list(order), deadline_s=services().deadline),
        core_services=states,
        timestamp=datetime.now(UTC),
    )
    caller = CallerState(name=g.caller.name, scopes=sorted(g.caller.scopes))
    return json_response(
        Status(
            **dict(known),
            ok=True,
            gateway=_gateway(),
            data=_operator_data(known),
            tokens=_tokens(),
            caller=caller,
            sandbox=services().sandbox_page is not None,
            admission=_admission(),
            audit=_audit_state(),
            audit_key=services().trail.key_id(),
            hosts=[HostState(**host._asdict()) for host in services().hosts()],
        )
    )


@bp.get("/operator/api/settings")
@token_required("admin", rated=False)
@documented(Note(SettingsInForce))
def get_settings() -> ResponseReturnValue:
    """The settings in force, which the file need not say any more; no secret."""
    return json_response(SettingsInForce(settings=dict(services().settings())))


def _gateway() -> GatewayState:
    """The one word for all of it, with its reasons."""
    found = services().board.now()
    return GatewayState(
        state=found.state.value,
        since=datetime.now(UTC) - timedelta(seconds=found.since),
        sentence=found.sentence,
        reasons=[
            ReasonState(
                code=reason.code,
                detail=reason.detail,
                next_step=reason.next_step,
                upstream=reason.upstream or None,
                since=_wall_time(reason.since),
            )
            for reason in found.reasons
        ],
    )


def _recent(upstream: str) -> RecentCallsState | None:
    known = services().board.history.recent(upstream)
    if known.succeeded_at is None and known.failed_at is None:
        return None
    return RecentCallsState(
        failures=known.failures,
        fault=known.fault or None,
        failed_at=_wall_time(known.failed_at),
        succeeded_at=_wall_time(known.succeeded_at),
    )


def _wall_time(shared: float | None) -> datetime | None:
    """What the clock on the wall showed at a time of the shared clock."""
    if shared is None:
        return None
    ago = services().board.shared.now() - shared
    return datetime.now(UTC) - timedelta(seconds=ago)


def _is_asked(state: UpstreamState) -> bool:
    """Whether a chat would be asked of it now."""
    return state.status != "down" and state.obstacle is None


def _policy(asked: list[str]) -> PolicyWord:
    """What would be asked now, in the words of the operator backend."""
    if asked == ["madre"]:
        return "solo_madre"
    return "full" if len(asked) == len(services().upstreams) else "operative_core"


def _operator_data(known: StatusData) -> OperatorData:
    """What the pages of the operator backend read."""
    ports = services().ports
    modules = {
        name: Module(status=MODULE_STATUS[state.status], port=ports.get(name, 0))
        for name, state in known.core_services.items()
    }
    return OperatorData(
        **dict(known),
        correlation_id=correlation.current.get(),
        operational_mode=known.policy,
        modules=modules,
        dormant_services=[],
    )


def _audit_state() -> str:
    """Whether records can be written, or the class of the reason why not."""
    try:
        services().trail.check()
    except AuditUnavailable as error:
        return str(error)
    return OK


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
    known: dict[str, Any] = {
        "breaker": NAMES[guard.phase],
        "recent": _recent(upstream),
    }
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
