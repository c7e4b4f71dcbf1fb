"""`replay run`: the records that a search finds, asked again, as a report."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

import click

from app.cli.client import GatewayClient, Refused, settings_or_exit
from app.cli.exits import (
    CONFIG,
    NO,
    NOT_ALLOWED,
    REFUSING,
    UNAVAILABLE,
    UNFAITHFUL,
    UNREADABLE,
    USAGE,
    exit_codes,
)
from app.cli.failing import Failure
from app.cli.replay.ask import CONFLICT, MISSING, asked, changes
from app.cli.replay.written import WRITTEN, as_facts, summary_lines
from app.cli.screen import say_json, say_line
from app.cli.shown.times import Moment, unix, zone_of
from app.gateway.errors import AuditUnavailable, SearchTookTooLong
from app.gateway.records.audit import Query, Record
from app.gateway.replay.origin import REPLAY
from app.gateway.replay.report import Case, Report, Threshold, thresholds
from app.wiring import search_records

MOST_FOUND = 10_000  # so many are held at once
PATIENCE = 120.0  # seconds that one replay waits until there is room for it
PAUSE = 1.0  # seconds, where the gateway names none
NOT_NOW = (429, 503)
# What may be different from the first time, and what a run is allowed.
ALLOWANCES = ("redacted", "may_act")
CHANGES = ("model", "temperature", *ALLOWANCES)

Wait = Callable[[float], object]


class Target(NamedTuple):
    """Whom a record is asked of; None: of whom it was asked before."""

    upstream: str | None
    is_baseline: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls of a run."""

    records: Sequence[Record]
    targets: Sequence[Target]

    @property
    def calls(self) -> int:
        """How many there are."""
        return len(self.records) * len(self.targets)


def _limits(_ctx: click.Context, _param: click.Parameter, text: str) -> Any:
    try:
        return thresholds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_file = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command(
    epilog=exit_codes(
        "no threshold is broken",
        UNFAITHFUL,
        UNAVAILABLE,
        REFUSING,
        UNREADABLE,
        NOT_ALLOWED,
        CONFIG,
        no="a threshold is broken",
        _65="nothing was found that could be asked again as it was",
        _69="no gateway answers, or nobody answered any of it",
    )
)
@click.argument("text", required=False)
@click.option("--since", type=Moment(), help="Not before: 2h ago, or a date and time.")
@click.option("--until", type=Moment(), help="Before: written as --since.")
@click.option("--caller", help="Only chats with this caller's token.")
@click.option("--person", help="Only chats for this person.")
@click.option("--session", "session_id", help="Only this session.")
@click.option("--provider", help="Only answers of this upstream.")
@click.option(
    "--sample", type=click.IntRange(1, MOST_FOUND), help="So many of them, evenly."
)
@click.option(
    "--max",
    "most",
    type=click.IntRange(1, 100_000),
    default=500,
    show_default=True,
    help="Make no more calls than this; a run of more is refused.",
)
@click.option("--dry-run", is_flag=True, help="Only say how many calls it would make.")
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    help="Whom to ask; may be given several times.  [default: who answered]",
)
@click.option(
    "--baseline",
    is_flag=True,
    help="Ask who answered, too: only what differs more than that is news.",
)
@changes
@click.option("--report", type=_file, help="Write the report to this file, as JSON.")
@click.option("--junit", type=_file, help="Write it as JUnit's XML, for a CI.")
@click.option("--html", type=_file, help="Write it as a page.")
@click.option(
    "--fail-on",
    "limits",
    default="",
    callback=_limits,
    help="What may not differ: outcome, finish, tools, text<0.8, latency>3.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def run(
    *,
    dry_run: bool,
    most: int,
    limits: tuple[Threshold, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Ask again what a search finds, and report where the answers differ.

    Chats whose words contain TEXT are asked of each --upstream, one after the other,
    while no user's chat waits. The report holds numbers and ids, and no words.
    """
    changed, files = _taken(given, CHANGES), _taken(given, WRITTEN)
    plan = _planned(**given)
    if dry_run:
        _say_plan(plan, as_json=as_json)
        return
    if plan.calls > most:
        why = f"This would make {plan.calls} calls; --max is {most}."
        raise Failure(USAGE, why, calls=plan.calls)
    client = GatewayClient.of_this_installation(for_streams=True)
    report = Report(limits)
    for record in plan.records:
        ask_all(client, record, plan.targets, changed, report)
    for name, word in WRITTEN.items():
        _write(files[name], word(report))
    if as_json:
        say_json(as_facts(report))
    else:
        for line in summary_lines(report):
            say_line(line)
    raise SystemExit(_exit_code(report))


def _taken(given: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: given.pop(name) for name in names}


def _planned(
    *,
    since: Any,
    until: Any,
    sample: int | None,
    upstreams: tuple[str, ...],
    baseline: bool,
    **filters: Any,
) -> Plan:
    """The chats that are found, oldest first, and whom to ask each."""
    zone = zone_of(is_utc=False)
    query = Query(
        since=unix(since, zone), until=unix(until, zone), limit=MOST_FOUND, **filters
    )
    targets = [Target(name) for name in upstreams or (None,)]
    targets += [Target(None, is_baseline=True)] if baseline else []
    try:
        found = search_records(settings_or_exit(), query, lambda _done, _all: None)
        chats = [record for record in found if _is_chat(record)][::-1]
    except SearchTookTooLong:
        why = "The search took too long. Ask for less time with --since and --until"
        raise Failure(UNREADABLE, why) from None
    except AuditUnavailable as error:
        why = f"The records cannot be read ({error}); see VX11_AUDIT_URL"
        raise Failure(UNREADABLE, why) from None
    return Plan(sampled(chats, sample or len(chats)), targets)


def _is_chat(record: Record) -> bool:
    """Whether a user's chat was taken on, and is over."""
    is_over = record.outcome not in (None, "event", "refused")
    return is_over and record.route != REPLAY and not record.corrects


def sampled(records: Sequence[Record], size: int) -> list[Record]:
    """So many of them, evenly spread, so that the next run takes the same."""
    if size >= len(records):
        return list(records)
    return [records[n * len(records) // size] for n in range(size)]


def _say_plan(plan: Plan, *, as_json: bool) -> None:
    facts = {"records": len(plan.records), "calls": plan.calls}
    if as_json:
        say_json(facts)
    else:
        say_line(f"{facts['records']} chats, {facts['calls']} calls")


def ask_all(
    client: GatewayClient,
    record: Record,
    targets: Iterable[Target],
    changed: dict[str, Any],
    report: Report,
    wait: Wait = sleep,
) -> None:
    """Ask one record of each target, and put into the report what came of it.

    A baseline asks the very same as then. A record that cannot be asked again as it was
    is skipped, with the reason.
    """
    for target in targets:
        changes = {k: changed[k] for k in ALLOWANCES} if target.is_baseline else changed
        body = asked(record.id, target.upstream, changes)
        try:
            found = _asked_with_patience(client, body, wait)
        except Refused as refused:
            if refused.status not in (CONFLICT, MISSING):
                why = f"The gateway does not ask again: {refused}."
                raise Failure(REFUSING, why, code=refused.code) from None
            report.skipped.append((record.id, str(refused)))
            return
        report.cases.append(_case(found, is_baseline=target.is_baseline))


def _asked_with_patience(
    client: GatewayClient, body: dict[str, Any], wait: Wait
) -> dict[str, Any]:
    """Ask once there is room for it; raises Refused."""
    waited = 0.0
    while True:
        try:
            return client.replay(body)
        except Refused as refused:
            if refused.status not in NOT_NOW or waited >= PATIENCE:
                raise
            pause = refused.retry_after or PAUSE
        wait(pause)
        waited += pause


def _case(found: dict[str, Any], *, is_baseline: bool) -> Case:
    was, now, same = found["before"], found["after"], found["same"]
    return Case(
        record=was["record"],
        replay=now["record"],
        upstream=found["upstream"],
        is_answered=now["outcome"] == "completed",
        is_same_outcome=same["outcome"],
        is_same_finish=same["finish_reason"],
        is_same_tools=same["tools"],
        likeness=found["likeness"],
        seconds_before=was["duration"] or 0.0,
        seconds=now["duration"] or 0.0,
        input_tokens=now["input_tokens"] or 0,
        output_tokens=now["output_tokens"] or 0,
        is_baseline=is_baseline,
        is_redacted=found["is_redacted"],
    )


def _write(path: Path | None, text: str) -> None:
    if path is None:
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        why = f"The report cannot be written: {error.strerror}"
        raise Failure(UNREADABLE, why) from None


def _exit_code(report: Report) -> int:
    if not report.cases:
        return UNFAITHFUL
    if not report.is_answered:
        return UNAVAILABLE
    return NO if report.broken() else 0
