"""`records erase`: take the words of somebody's chats out of the records."""

import sys

import click

from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, NO, UNREADABLE, USAGE, exit_codes
from app.cli.failing import Failure
from app.cli.screen import progress, say_json, say_line
from app.gateway.errors import AuditUnavailable, SearchTookTooLong
from app.settings import Settings
from app.wiring import Erased, Whose, erase_words


@click.command(
    epilog=exit_codes("done", UNREADABLE, CONFIG, no="there are no such words, or no")
)
@click.option("--session", "session_id", help="Of this session.")
@click.option("--caller", help="Of chats with this caller's token.")
@click.option("--user", "--person", "person", help="Of chats for this person.")
@click.option("--record", "record_id", help="Of the record with this id.")
@click.option("--dry-run", is_flag=True, help="Only count; erase nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def erase(
    session_id: str | None,
    caller: str | None,
    person: str | None,
    record_id: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take questions and answers of somebody out of the records, for good.

    A record must fit all options that are given. When it was, and who answered, stays,
    and the chain stays whole: a record of its own tells what was erased, and of whose
    only a keyed digest. It works while the gateway runs. Copies and backups keep what
    they have.
    """
    whose = Whose(session_id, caller, person, record_id)
    if whose == Whose():
        raise Failure(USAGE, "Give --session, --caller, --user or --record")
    settings = settings_or_exit()
    if not (dry_run or yes or as_json) and sys.stdin.isatty():
        found = _erased(settings, whose, is_rehearsal=True)
        click.confirm(f"Erase the words of {found.records} records?", abort=True)
    result = _erased(settings, whose, is_rehearsal=dry_run, as_json=as_json)
    if as_json:
        counts = {"records": result.records, "open": result.open}
        say_json(counts | {"is_clean": not result.left, "dry_run": dry_run})
    else:
        _tell(result, dry_run=dry_run)
    raise SystemExit(0 if result.records else NO)


def _erased(
    settings: Settings, whose: Whose, *, is_rehearsal: bool, as_json: bool = False
) -> Erased:
    try:
        with progress("Looking", as_json=as_json) as tell:
            return erase_words(
                settings, whose, is_rehearsal=is_rehearsal, on_progress=tell
            )
    except SearchTookTooLong:
        why = "The search took too long; nothing was erased. Try again later"
        raise Failure(UNREADABLE, why) from None
    except AuditUnavailable as error:
        why = f"The records cannot be changed ({error}); see VX11_AUDIT_URL"
        raise Failure(UNREADABLE, why) from None


def _tell(result: Erased, *, dry_run: bool) -> None:
    done = "would be erased" if dry_run else "were erased"
    say_line(f"The words of {result.records} records {done}.")
    if result.open:
        say_line(f"{result.open} chats are under way: do this again when they ended.")
    if result.left:
        say_line(result.left)
