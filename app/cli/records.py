"""`records`: find, show, follow and check what is on record.

It reads the database itself, so it works while the gateway is down.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from threading import Event
from time import time
from typing import Any

import click

from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, NO, UNREADABLE, exit_codes
from app.cli.failing import Failure
from app.cli.screen import progress, say_json, say_line
from app.cli.shown.record_text import heading, line, page
from app.cli.shown.times import Moment, unix, zone_of
from app.gateway.errors import AuditUnavailable, SearchTookTooLong
from app.gateway.records.audit import Query, Record, Records
from app.wiring import (
    Place,
    Verification,
    anchors_in,
    export_records,
    open_records,
    parse_head,
    search_records,
    verify_records,
)

FOLLOW_EVERY = 1.0  # seconds
MOST = 10_000  # so many are held at once
When = timedelta | datetime | None
FORMULA = ("=", "+", "-", "@", "\t", "\r")


_utc = click.option(
    "--utc", "is_utc", is_flag=True, help="Times in UTC, also on a terminal."
)


@click.group(
    epilog=exit_codes("done", UNREADABLE, CONFIG, no="nothing found, or not sound")
)
def records() -> None:
    """Search, show, follow and check the audit records.

    No token is needed: who may read the files may read the records.
    """


@records.command(
    epilog=exit_codes("some were found", UNREADABLE, CONFIG, no="none was found")
)
@click.argument("text", required=False)
@click.option("--session", "session_id", help="Only this session.")
@click.option("--person", help="Only chats for this person.")
@click.option("--correlation", "correlation_id", help="Only this correlation id.")
@click.option("--caller", help="Only chats with this caller's token.")
@click.option("--provider", help="Only answers of this upstream.")
@click.option(
    "--outcome",
    type=click.Choice(
        ["completed", "failed", "cancelled", "interrupted", "refused", "event", "open"]
    ),
    help="Only chats that ended like this; event: what circuit breakers did.",
)
@click.option("--degraded", is_flag=True, help="Not answered by the first choice.")
@click.option(
    "--failed",
    is_flag=True,
    help="Answered by nobody, or refused by the gateway; with --degraded: either.",
)
@click.option(
    "--since", type=Moment(), help="Not before: 30m, 2h or 7d ago, or a date and time."
)
@click.option("--until", type=Moment(), help="Before: written as --since.")
@_utc
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=50,
    show_default=True,
    help="At most so many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def search(
    since: When, until: When, is_utc: bool, as_json: bool, **filters: Any
) -> None:
    """List records, newest first, whose words contain TEXT.

    Times are read and printed in this host's time zone on a terminal, else in UTC.
    """
    zone = zone_of(is_utc=is_utc)
    query = Query(since=unix(since, zone), until=unix(until, zone), **filters)
    settings = settings_or_exit()
    with readable(), progress("Searching", as_json=as_json) as tell:
        found = list(search_records(settings, query, tell))
    if found and not as_json:
        say_line(heading(found[0].opened_at, zone))
    for record in found:
        _print(record, as_json, zone)
    raise SystemExit(0 if found else NO)


@records.command(epilog=exit_codes("found", UNREADABLE, CONFIG, no="there is none"))
@click.argument("record_id")
@_utc
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(record_id: str, is_utc: bool, as_json: bool) -> None:
    """Show one record by its id or correlation id, with its attempts."""
    with readable():
        record = _reader().get(record_id)
    if record is None:
        raise Failure(NO, "There is no such record.")
    if as_json:
        say_json(_shown(record))
        return
    for text in page(record, zone_of(is_utc=is_utc)):
        say_line(text)


@records.command(epilog=exit_codes("stopped by Ctrl-C", UNREADABLE, CONFIG))
@_utc
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def follow(is_utc: bool, as_json: bool) -> None:
    """Print each record once, when its chat has ended, until Ctrl-C.

    They come in the order of the chain; of several workers on PostgreSQL, lane by lane.
    What was on record before is not printed.
    """
    zone = zone_of(is_utc=is_utc)
    with readable(), suppress(KeyboardInterrupt):
        reader = _reader()
        if not as_json:
            say_line(heading(time(), zone))
        for record in sealed_from_now_on(reader, Event().wait):
            _print(record, as_json, zone)


def sealed_from_now_on(
    reader: Records, wait: Callable[[float], bool]
) -> Iterator[Record]:
    """Yield what is sealed from now on; `wait` returns True to end it."""
    ends = reader.ends()
    while not wait(FOLLOW_EVERY):
        while (step := reader.sealed_after(ends))[1] != ends:
            found, ends = step
            yield from found


@records.command(epilog=exit_codes("all are written", UNREADABLE, CONFIG))
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="A JSON object a line, or a table.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def export(form: str, as_json: bool) -> None:
    """Print every record in the order of the chain, and at the end its heads.

    In a table, a text that a spreadsheet would take for a formula begins with `'`.
    """
    settings = settings_or_exit()
    with readable(), progress("Exporting", as_json=as_json) as tell:
        found, heads = export_records(settings, tell)
        if as_json or form == "jsonl":
            for record in found:
                say_json(_shown(record))
            say_json({"heads": heads})
            return
        table = csv.writer(sys.stdout)
        table.writerow(Record.__dataclass_fields__)
        table.writerows(map(_cells, found))
        table.writerows(["head", head] for head in heads)


def _cells(record: Record) -> list[object]:
    shown = asdict(record) | {"digest": record.digest and record.digest.hex()}
    return [
        f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
        for value in shown.values()
    ]


@records.command(epilog=exit_codes("it is whole", UNREADABLE, CONFIG, no="it is not"))
@click.option(
    "--head", "heads", multiple=True, help="A head of earlier, as this prints it."
)
@click.option(
    "--anchors",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of anchors, or a log that has them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(heads: tuple[str, ...], anchors: Path | None, as_json: bool) -> None:
    """Check the hash chain over all records, and print its head.

    Only a head or an anchor that was kept elsewhere can show that all of the database
    was put back to an earlier state.
    """
    settings, noted = settings_or_exit(), _noted(heads, anchors)
    with readable(), progress("Checking", as_json=as_json) as tell:
        result = verify_records(settings, noted, tell)
    facts = {
        "ok": result.ok,
        "rows": result.rows,
        "first_bad_seq": result.first_bad_seq,
        "first_bad_id": result.bad_id,
        "first_bad_opened_at": result.bad_opened_at,
        "lane": result.lane,
        "reason": result.reason,
        "heads": [str(head) for head in result.heads],
        "noted": result.noted,
    }
    if not result.ok:
        facts["error"] = result.reason
    sentence = f"{result.rows} records, " + (result.reason or "the chain is whole")
    if as_json:
        say_json(facts)
    else:
        heads_told = (f"Head {head}" for head in result.heads)
        for line in (sentence + _first_bad(result), *heads_told):
            say_line(line)
    raise SystemExit(0 if result.ok else NO)


def _first_bad(result: Verification) -> str:
    """Where the first bad record is, as far as can be said."""
    facts = []
    if result.first_bad_seq is not None:
        facts.append(f"record {result.first_bad_seq} of lane {result.lane}")
    if result.bad_id is not None:
        facts.append(f"id {result.bad_id}")
    if result.bad_opened_at is not None:
        facts.append(f"begun {datetime.fromtimestamp(result.bad_opened_at, UTC)}")
    return f": {', '.join(facts)}" if facts else ""


def _noted(heads: tuple[str, ...], anchors: Path | None) -> list[Place]:
    """The heads of earlier. A Failure says which option has none."""
    try:
        noted = [parse_head(text) for text in heads]
    except ValueError as error:
        raise Failure(CONFIG, f"--head: {error}") from None
    if anchors is None:
        return noted
    try:
        with anchors.open(errors="replace") as lines:
            found = list(anchors_in(lines))
    except OSError as error:
        raise Failure(UNREADABLE, f"--anchors: {error.strerror}") from None
    if not found:
        raise Failure(CONFIG, "--anchors: there is no anchor in this file")
    return noted + found


def _reader() -> Records:
    return open_records(settings_or_exit())


@contextmanager
def readable() -> Iterator[None]:
    """Turn what keeps the records from being read into a Failure that says so."""
    try:
        yield
    except SearchTookTooLong:
        why = "The search took too long. Ask for less time with --since and --until"
        raise Failure(UNREADABLE, why) from None
    except AuditUnavailable as error:
        why = f"The records cannot be read ({error}); see VX11_AUDIT_URL"
        raise Failure(UNREADABLE, why) from None


def _shown(record: Record) -> dict[str, Any]:
    shown = asdict(replace(record, digest=None))
    shown["digest"] = record.digest.hex() if record.digest else None
    for field in ("request", "reply", "attempts", "decision"):
        shown[field] = json.loads(shown[field]) if shown[field] else None
    return shown


def _print(record: Record, as_json: bool, zone: tzinfo | None) -> None:
    if as_json:
        say_json(_shown(record))
    else:
        say_line(line(record, zone))
