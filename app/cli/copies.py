"""`backup` and `restore`: copies of the audit records and of their key."""

from pathlib import Path

import click

from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, NO, UNREADABLE, exit_codes
from app.cli.failing import Failure
from app.cli.screen import say_json, say_line
from app.gateway.errors import AuditUnavailable
from app.wiring import Verification, backup_records, place_of_records, restore_records

_folder = click.argument("folder", type=click.Path(path_type=Path))


@click.command(
    epilog=exit_codes(
        "copied, and the copy is whole",
        CONFIG,
        no="copied, but the copy is not whole: what was copied was not",
        _74="nothing was copied",
    )
)
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def backup(folder: Path, as_json: bool) -> None:
    """Copy the audit records and their key into FOLDER, which must not be there.

    The gateway may run and go on writing. The copy is checked as `records verify`
    does, and only its owner may read it. With VX11_AUDIT_KEY the key is no file, and
    must be kept by other means. Settings and tokens are not copied.
    """
    settings = settings_or_exit()
    try:
        copied = backup_records(settings, folder)
    except AuditUnavailable as error:
        raise Failure(UNREADABLE, f"Nothing was copied ({error})") from None
    _tell(copied, "Copied", f"to {folder}", as_json=as_json)


@click.command(
    epilog=exit_codes(
        "the records are in place", CONFIG, _74="nothing was changed, and why"
    )
)
@_folder
@click.option(
    "--set-aside",
    "sets_aside",
    is_flag=True,
    help="Move records that are in place into a folder beside them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def restore(folder: Path, sets_aside: bool, as_json: bool) -> None:
    """Put the copy in FOLDER, made by `backup`, in the place of the audit records.

    The gateway must be stopped. The copy is checked before. Records that are in place
    are not overwritten. The files get the owner of their folder and the mode 0600.
    """
    settings = settings_or_exit()
    try:
        restored = restore_records(settings, folder, sets_aside=sets_aside)
    except AuditUnavailable as error:
        raise Failure(UNREADABLE, f"Nothing was restored ({error})") from None
    _tell(restored, "Restored", f"to {place_of_records(settings)}", as_json=as_json)


def _tell(result: Verification, done: str, where: str, *, as_json: bool) -> None:
    heads = [str(head) for head in result.heads]
    if as_json:
        facts = {"ok": result.ok, "rows": result.rows, "heads": heads}
        say_json(facts | ({} if result.ok else {"error": result.reason}))
    else:
        sentence = result.reason or "the chain is whole"
        say_line(f"{done} {result.rows} records {where}; {sentence}")
        for head in heads:
            say_line(f"Head {head}")
    raise SystemExit(0 if result.ok else NO)
