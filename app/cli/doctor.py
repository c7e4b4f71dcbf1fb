"""`doctor`: look at all that one would look at when woken, and say what to do next."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import click

from app.cli.client import GatewayClient
from app.cli.exits import CONFIG, NO, NOT_ALLOWED, REFUSING, UNAVAILABLE, exit_codes
from app.cli.failing import Failure
from app.cli.screen import say_json, say_line
from app.gateway.errors import AuditUnavailable
from app.gateway.records.activity import Kind, Window
from app.settings import Settings, SettingsError, load_usable
from app.wiring import open_windows, problems_of_files

SKEW = 2.0  # seconds between our clock and the gateway's that are no accident
DAY = timedelta(days=1)
SOON = timedelta(days=14)  # left to a certificate, when it is time to renew it
TLS_TIMEOUT = 5.0

OK, WARN, BAD = "ok", "warn", "bad"
EXITS = {OK: 0, WARN: NO, BAD: REFUSING}
MOST_WINDOWS = 1000
KINDS: dict[Kind, str] = {
    "degraded": "by a fallback",
    "unanswered": "answered by nobody",
    "refused": "refused by the gateway itself",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is (`ok`, `warn` or `bad`), and what to do then."""

    part: str
    state: str
    words: str
    next_step: str = ""


@click.command(
    epilog=exit_codes(
        "all is well", REFUSING, NOT_ALLOWED, CONFIG, no="something needs a look"
    )
)
@click.option(
    "--front-door", help="Also look at the certificate of this https:// address."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(front_door: str | None, as_json: bool) -> None:
    """Look at everything, and end in one sentence and the next step.

    Nothing is changed and no upstream is asked. It works while the file of settings
    is broken, and tells what it could not look at.
    """
    settings, problems = load_usable()
    findings = [*_gateway(), *_settings(settings, problems), *_windows(settings)]
    if front_door:
        findings.append(_certificate(front_door))
    worst = max(findings, key=lambda finding: list(EXITS).index(finding.state))
    if as_json:
        say_json([asdict(finding) for finding in findings], indent=2)
    else:
        for finding in findings:
            say_line(f"{finding.state:<5}{finding.part:<14}{finding.words}")
        for line in _summary(worst):
            say_line(line)
    raise SystemExit(EXITS[worst.state])


def _summary(worst: Finding) -> tuple[str, ...]:
    if worst.state == OK:
        return ("", "All is well.")
    return ("", f"{worst.part}: {worst.words}.", f"Next: {worst.next_step}")


def _settings(settings: Settings, problems: list[str]) -> Iterator[Finding]:
    """The settings as they lie there, which a running gateway need not have read."""
    problems = list(dict.fromkeys([*problems, *problems_of_files(settings)]))
    step = "Mend it before the next HUP or start: `config check` names every mistake."
    for problem in problems:
        yield Finding("settings", WARN, problem, step)
    if not problems:
        yield Finding("settings", OK, "no mistake")


def _gateway() -> Iterator[Finding]:
    try:
        known = GatewayClient.of_this_installation().status()
    except Failure as failure:
        is_ours = failure.exit_code != UNAVAILABLE
        step = (
            "Show it a token that it takes."
            if is_ours
            else "Start it, or look at why it does not: `journalctl -u chat-gateway`."
        )
        yield Finding("gateway", WARN if is_ours else BAD, failure.message, step)
        return
    yield _clock(known)
    yield from _state(known["gateway"])
    yield from _upstreams(known)
    admission = known["admission"]
    if admission.get("busy", 0) >= admission.get("slots", 1) > 0:
        words = f"all {admission['slots']} slots are taken"
        step = "See GatewayShedding in docs/operating.md."
        yield Finding("load", WARN, words, step)


def _state(gateway: dict[str, Any]) -> Iterator[Finding]:
    if not gateway["reasons"]:
        yield Finding("gateway", OK, f"well since {_local(gateway['since'])}")
    for reason in gateway["reasons"]:
        state = BAD if gateway["state"] == "refusing" else WARN
        since = reason.get("since") or gateway["since"]
        words = f"{_detail(reason, gateway['reasons'])}, since {_local(since)}"
        yield Finding("gateway", state, words, reason.get("next_step", ""))


def _detail(reason: dict[str, Any], all_of_them: list[dict[str, Any]]) -> str:
    """The reason in words; why no upstream answers is what is wrong with each."""
    if reason["code"] != "no_upstream":
        return str(reason["detail"])
    each = [one["detail"] for one in all_of_them if one.get("upstream")]
    return f"{reason['detail']}: {'; '.join(each)}"


def _upstreams(known: dict[str, Any]) -> Iterator[Finding]:
    told = {reason.get("upstream") for reason in known["gateway"]["reasons"]}
    for name in known["routing"]["order"]:
        service = known["core_services"][name]
        recent = service.get("recent") or {}
        success = recent.get("succeeded_at")
        words = f"{service['status']}, {service['reason']}"
        if success:
            words = f"{words}; last success {_local(success)}"
        state = WARN if name in told else OK
        yield Finding(name, state, words, "See the gateway's reason above.")


def _clock(known: dict[str, Any]) -> Finding:
    there = datetime.fromisoformat(known["timestamp"])
    skew = abs((datetime.now(UTC) - there).total_seconds())
    if skew <= SKEW:
        return Finding("clock", OK, "as ours")
    step = "Let the host's clock be kept by NTP; deadlines do not depend on it."
    return Finding("clock", WARN, f"{skew:.0f} s from ours", step)


def _windows(settings: Settings) -> Iterator[Finding]:
    """The last minutes of a day in which chats went wrong, of each kind."""
    since = (datetime.now(UTC) - DAY).timestamp()
    try:
        found = open_windows(settings).windows(since, MOST_WINDOWS)
    except (AuditUnavailable, SettingsError, ValueError) as error:
        words = f"cannot be read from here ({error})"
        yield Finding("records", WARN, words, "Run it as the service's user.")
        return
    newest = {window.kind: window for window in reversed(found)}
    for window in newest.values():
        yield Finding("records", OK, _last(window))
    if not newest:
        yield Finding("records", OK, "no bad minute in the last 24 hours")


def _last(window: Window) -> str:
    cause, _ = window.causes[0]
    began = datetime.fromtimestamp(window.began, UTC).isoformat()
    chats = "1 chat" if window.chats == 1 else f"{window.chats} chats"
    return f"{chats} {KINDS[window.kind]} from {_local(began)} ({cause})"


def _certificate(url: str) -> Finding:
    """The front door's certificate: whether it is there, and until when it is valid."""
    renew = "Renew the certificate, then reload nginx."
    try:
        ends = _end_of_certificate(url)
    except ssl.SSLCertVerificationError as error:
        return Finding("front door", BAD, error.verify_message, renew)
    except OSError as error:
        words = f"{url} does not answer over TLS ({error})"
        return Finding("front door", BAD, words, "Look at nginx and its log.")
    left = ends - datetime.now(UTC)
    words = f"its certificate ends {_local(ends.isoformat())}"
    return Finding("front door", WARN if left < SOON else OK, words, renew)


def _end_of_certificate(url: str) -> datetime:
    """Check the dates of a certificate, whoever signed it; return when it ends."""
    address = urlsplit(url)
    host = address.hostname or ""
    where = (host, address.port or 443)
    trusted = ssl.get_server_certificate(where, timeout=TLS_TIMEOUT)
    context = ssl.create_default_context(cadata=trusted)
    context.check_hostname = False  # it may be asked by another name from here
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with (
        socket.create_connection(where, TLS_TIMEOUT) as connection,
        context.wrap_socket(connection, server_hostname=host) as tls,
    ):
        ends = (tls.getpeercert() or {})["notAfter"]
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(ends)), UTC)


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S %Z}"
