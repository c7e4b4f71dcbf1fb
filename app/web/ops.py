"""Operations: is it alive, is it ready, what does it know of its upstreams."""

from datetime import UTC, datetime

from flask import Blueprint, g, jsonify
from flask.typing import ResponseReturnValue

from app.gateway.breaker import NAMES
from app.gateway.errors import AuditUnavailable, ShuttingDown
from app.version import VERSION
from app.web.auth import public, token_required
from app.web.context import services
from app.web.errors import error_response

bp = Blueprint("ops", __name__)


def _now() -> str:
    return datetime.now(UTC).isoformat()


@bp.get("/health")
@public
def get_health() -> ResponseReturnValue:
    """The process answers; nothing else is asked."""
    return jsonify(
        ok=True, status="ok", module="operator", version=VERSION, timestamp=_now()
    )


@bp.get("/operator/api/health")
@public
def get_operator_health() -> ResponseReturnValue:
    """The same in the words of the operator backend."""
    return jsonify(status="ok", service="operator_backend", version=VERSION)


@bp.get("/readyz")
@public
def get_readiness() -> ResponseReturnValue:
    """200 if a chat sent now would be accepted, else 503 and why not."""
    if services().drain.is_final:
        return error_response(503, ShuttingDown.code, "the gateway is shutting down")
    try:
        services().trail.check()
    except AuditUnavailable as error:
        return error_response(503, error.code, str(error))
    return jsonify(status="ready")


@bp.get("/operator/api/status")
@token_required("chat", rated=False)
def get_status() -> ResponseReturnValue:
    """What the gateway knows, in both shapes that clients read."""
    core_services = _core_services()
    policy = {"order": list(services().upstreams), "deadline_s": services().deadline}
    timestamp = _now()
    return jsonify(
        ok=True,
        data={
            "policy": policy,
            "core_services": core_services,
            "timestamp": timestamp,
        },
        policy=policy,
        core_services=core_services,
        timestamp=timestamp,
        tokens=_tokens(),
        caller={"name": g.caller.name, "scopes": sorted(g.caller.scopes)},
        sandbox=services().fault_panel is not None,
        admission=_admission(),
    )


def _tokens() -> dict[str, str | int]:
    """Whether the file of tokens is in effect; what is wrong with it is logged."""
    keyring = services().keyring
    if keyring is None:
        return {"status": "off"}
    problems = len(keyring.problems)
    return {"status": "stale" if problems else "ok", "problems": problems}


def _core_services() -> dict[str, dict[str, str]]:
    """Health of each upstream as it is known now; nobody is asked for it."""
    verdicts = {name: services().health.verdict(name) for name in services().upstreams}
    return {
        name: {
            "status": "unknown" if v is None else "up" if v.is_healthy else "down",
            "reason": v.reason if v else "not asked yet",
        }
        | _breaker(name)
        for name, v in verdicts.items()
    }


def _breaker(upstream: str) -> dict[str, str]:
    """The phase of its circuit as the whole host sees it."""
    breaker = services().breakers.get(upstream)
    return {"breaker": NAMES[breaker.phase]} if breaker else {}


def _admission() -> dict[str, int]:
    """What is taken in the worker that answers, and how much there is."""
    gate = services().gate
    if gate is None:
        return {}
    load, limits = gate.load(), gate.limits
    return {
        "busy": load.busy,
        "slots": limits.slots,
        "waiting": load.waiting,
        "queue": limits.queue,
        "streams": load.streams,
        "stream_slots": limits.streams,
    }
