"""`status` and `explain`: how the gateway is, whom it would ask, and whom it asked."""

from datetime import datetime
from typing import Any

import click

from app.cli.client import GatewayClient, settings_or_exit
from app.cli.exits import (
    CONFIG,
    NO,
    NOT_ALLOWED,
    REFUSING,
    UNAVAILABLE,
    UNREADABLE,
    exit_codes,
)
from app.cli.failing import Failure
from app.cli.records import readable
from app.cli.screen import say_json, say_line
from app.cli.shown.hosts import hosts_of
from app.wiring import explained

EXITS = {"well": 0, "degraded": 1, "refusing": REFUSING}
OBSTACLES = {
    "unhealthy": "it is down ({reason})",
    "resting": "it asked for a rest",
    "circuit_open": "its circuit breaker is {breaker}",
    "no_slot": "all its {calls[limit]} places are taken",
}


@click.command(
    epilog=exit_codes(
        "it is well", REFUSING, UNAVAILABLE, NOT_ALLOWED, CONFIG, no="it is degraded"
    )
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def status(as_json: bool) -> None:
    """Show how the gateway is, and whether each upstream is up."""
    known = GatewayClient.of_this_installation().status()
    if as_json:
        say_json(known, indent=2)
    else:
        _print_status(known)
    raise SystemExit(EXITS[known["gateway"]["state"]])


@click.command(
    epilog=exit_codes(
        "somebody would answer; or the chat is explained",
        UNREADABLE,
        REFUSING,
        UNAVAILABLE,
        NOT_ALLOWED,
        CONFIG,
        no="there is no such record",
    )
)
@click.argument("record_id", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the reasons as JSON.")
def explain(record_id: str | None, as_json: bool) -> None:
    """Tell which upstream would answer now, or who answered a chat, and why.

    Without RECORD_ID it is what the gateway knows at this moment; nobody is asked. With
    one, a record's own id or a correlation id, it tells from the records why that chat
    went as it did, also while the gateway is down.
    """
    if record_id is not None:
        _explain_record(record_id, as_json)
        return
    known = GatewayClient.of_this_installation().status()
    verdicts = _verdicts(known["routing"]["order"], known["core_services"])
    is_refusing = known["gateway"]["state"] == "refusing"
    if as_json:
        say_json(verdicts, indent=2)
    else:
        _print_state(known["gateway"])
        for number, verdict in enumerate(verdicts, 1):
            say_line(f"{number}. {verdict['upstream']}: {verdict['why']}")
    raise SystemExit(REFUSING if is_refusing or not _somebody(verdicts) else 0)


def _explain_record(record_id: str, as_json: bool) -> None:
    with readable():
        sentences = explained(settings_or_exit(), record_id)
    if sentences is None:
        raise Failure(NO, "There is no such record.")
    if as_json:
        say_json({"sentences": sentences}, indent=2)
        return
    for sentence in sentences:
        say_line(sentence)


def _print_status(known: dict[str, Any]) -> None:
    _print_state(known["gateway"])
    for name in known["routing"]["order"]:
        service = known["core_services"][name]
        say_line(f"{name:<16} {service['status']:<8} {_how(service)}")
    for line in hosts_of(known):
        say_line(line)


def _how(service: dict[str, Any]) -> str:
    """What is known of an upstream, in a clause."""
    obstacle = _obstacle(service)
    if obstacle and service["status"] != "down":
        return f"{service['reason']}, but passed over: {obstacle}"
    if failures := _failures(service):
        return f"{service['reason']}, but {failures}"
    return str(service["reason"])


def _print_state(gateway: dict[str, Any]) -> None:
    """Say in one line how the gateway is, and since when."""
    since = datetime.fromisoformat(gateway["since"]).astimezone()
    say_line(f"{gateway['sentence']} (since {since:%Y-%m-%d %H:%M:%S %Z})")


def _failures(service: dict[str, Any]) -> str:
    recent = service.get("recent") or {}
    count = recent.get("failures", 0)
    if not count:
        return ""
    calls = "call" if count == 1 else f"{count} calls"
    return f"its last {calls} failed: {recent['fault']}"


def _verdicts(
    order: list[str], services: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = []
    for name in order:
        obstacle = _obstacle(services[name])
        first = not _somebody(verdicts)
        if obstacle:
            why = f"would be passed over: {obstacle}"
        else:
            why = "would be asked" if first else "stands by, if those before it fail"
            if failures := _failures(services[name]):
                why = f"{why}, but {failures}"
        verdicts.append(
            {"upstream": name, "would_answer": not obstacle and first, "why": why}
        )
    return verdicts if _somebody(verdicts) else _after_all(verdicts, services)


def _somebody(verdicts: list[dict[str, Any]]) -> bool:
    return any(verdict["would_answer"] for verdict in verdicts)


def _after_all(
    verdicts: list[dict[str, Any]], services: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Where nobody else is left, a circuit or a verdict keeps no chat away."""
    for verdict in verdicts:
        reason = services[verdict["upstream"]]["obstacle"]["reason"]
        if reason in ("unhealthy", "circuit_open") and not _somebody(verdicts):
            verdict["would_answer"] = True
            verdict["why"] = f"would be asked for want of another: {verdict['why']}"
    return verdicts


def _obstacle(service: dict[str, Any]) -> str:
    """Why it would be passed over now and for how long; "" if it would not be."""
    obstacle = service.get("obstacle")
    if obstacle is None:
        return ""
    words = OBSTACLES.get(obstacle["reason"], obstacle["reason"]).format(**service)
    if obstacle.get("for_one_caller"):
        words = f"{words} for one caller, whose chats failed"
    wait = obstacle.get("for_s")
    return words if wait is None else f"{words}, for another {wait:g} s"
