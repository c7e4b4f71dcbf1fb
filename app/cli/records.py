"""`records`: find, show, follow and check what is on record.

It reads the database itself, so it works while the gateway is down.
"""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import click

from app.cli.client import settings_or_exit
from app.gateway.audit import Query, Record, Records
from app.wiring import open_records, verify_records

EXIT_NOT_FOUND = 1
FOLLOW_EVERY = 1.0  # seconds


@click.group()
def records() -> None:
    """Search, show, follow and check the audit records."""


@records.command()
@click.argument("text", required=False)
@click.option("--session", "session_id", help="Only this session.")
@click.option("--correlation", "correlation_id", help="Only this correlation id.")
@click.option("--provider", help="Only answers of this upstream.")
@click.option(
    "--outcome",
    type=click.Choice(
        ["completed", "failed", "cancelled", "interrupted", "refused", "event", "open"]
    ),
    help="Only chats that ended like this; event: what circuit breakers did.",
)
@click.option("--since", type=click.DateTime(), help="Not before this time (UTC).")
@click.option("--until", type=click.DateTime(), help="Before this time (UTC).")
@click.option("--limit", default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def search(
    since: datetime | None, until: datetime | None, as_json: bool, **filters: Any
) -> None:
    """List records, newest first, whose words contain TEXT.

    \b
    Exit codes: 0 some were found, 1 none, 78 bad settings.
    """
    query = Query(since=_unix(since), until=_unix(until), **filters)
    found = _reader().search(query)
    for record in found:
        _print(record, as_json)
    raise SystemExit(0 if found else EXIT_NOT_FOUND)


@records.command()
@click.argument("record_id")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(record_id: str, as_json: bool) -> None:
    """Show one record by its id or correlation id, with its attempts.

    \b
    Exit codes: 0 found, 1 there is none, 78 bad settings.
    """
    record = _reader().get(record_id)
    if record is None:
        click.echo("There is no such record.", err=True)
        raise SystemExit(EXIT_NOT_FOUND)
    click.echo(json.dumps(_shown(record), indent=None if as_json else 2))


@records.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def follow(as_json: bool) -> None:
    """Print each record as it is made, until Ctrl-C."""
    reader, pause = _reader(), Event()
    newest = next(iter(reader.search(Query(limit=1))), None)
    since = newest.opened_at if newest else 0.0
    seen = {newest.id} if newest else set()
    while not pause.wait(FOLLOW_EVERY):
        for record in reversed(reader.search(Query(since=since, limit=500))):
            if record.outcome and record.id not in seen:
                seen.add(record.id)
                _print(record, as_json)


@records.command()
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(as_json: bool) -> None:
    """Check the hash chain over all records.

    \b
    Exit codes: 0 it is whole, 1 it is not, 78 bad settings.
    """
    result = verify_records(settings_or_exit())
    facts = {
        "ok": result.ok,
        "rows": result.rows,
        "first_bad_seq": result.first_bad_seq,
        "reason": result.reason,
    }
    sentence = f"{result.rows} records, " + (result.reason or "the chain is whole")
    click.echo(json.dumps(facts) if as_json else sentence)
    raise SystemExit(0 if result.ok else 1)


def _reader() -> Records:
    return open_records(settings_or_exit())


def _unix(time: datetime | None) -> float | None:
    return time.replace(tzinfo=UTC).timestamp() if time else None


def _shown(record: Record) -> dict[str, Any]:
    shown = asdict(replace(record, digest=None))
    shown["digest"] = record.digest.hex() if record.digest else None
    for field in ("request", "reply", "attempts"):
        shown[field] = json.loads(shown[field]) if shown[field] else None
    return shown


def _print(record: Record, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_shown(record)))
        return
    opened = datetime.fromtimestamp(record.opened_at, UTC)
    columns = (
        f"{opened:%Y-%m-%d %H:%M:%S}",
        record.id,
        f"{record.outcome or 'open':<11}",
        f"{record.status or '-':<3}",
        f"{record.provider or '-':<10}",
        f"{record.degraded_by or record.code or '-':<18}",
        record.caller,
    )
    click.echo("  ".join(columns))
