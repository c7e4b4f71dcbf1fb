"""`records play`: a stored answer said again as it came."""

from threading import Event

import click

from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, NO, UNFAITHFUL, UNREADABLE, exit_codes
from app.cli.failing import Failure
from app.cli.screen import say, say_json, say_line
from app.gateway.errors import AuditUnavailable
from app.gateway.records.audit import Record
from app.gateway.replay.playing import Played, played
from app.gateway.replay.stored import NotReplayable
from app.wiring import open_records


@click.command(
    epilog=exit_codes("said", UNFAITHFUL, UNREADABLE, CONFIG, no="no such record")
)
@click.argument("record_id")
@click.option(
    "--speed",
    type=click.FloatRange(0, 1000),
    default=1.0,
    show_default=True,
    help="How many times as fast as it came; 0: at once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each piece as JSON.")
def play(record_id: str, speed: float, as_json: bool) -> None:
    """Say the answer of a record again as it came, word by word.

    Nobody is asked, and no record is left.
    """
    try:
        record = open_records(settings_or_exit()).get(record_id)
    except AuditUnavailable as error:
        why = f"The records cannot be read ({error}); see VX11_AUDIT_URL"
        raise Failure(UNREADABLE, why) from None
    if record is None:
        raise Failure(NO, "There is no such record.")
    try:
        found = played(record)
    except NotReplayable as error:
        why = f"It cannot be played: {error}."
        raise Failure(UNFAITHFUL, why, reason=error.reason) from None
    for step in found.steps:
        Event().wait(step.wait / speed if speed else 0.0)
        if as_json:
            say_json({"wait": step.wait, "text": step.text})
        else:
            say(step.text, nl=False)
    if not as_json:
        say_line("")
        say_line(_note(record, found), err=True)


def _note(record: Record, found: Played) -> str:
    """How it ended, and how true to what came it was."""
    parts = [record.provider or "nobody", record.outcome or "open"]
    parts += [] if found.is_streamed else ["it came as a whole"]
    parts += [] if found.is_exact else ["redacted: not quite as it came"]
    parts += (
        ["with more than text: see records show"] if "choices" in found.said else []
    )
    return f"[{', '.join(parts)}]"
