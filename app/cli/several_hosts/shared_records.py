"""`records move` and `records accept-loss`: the record of several hosts."""

import click

from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, UNREADABLE, exit_codes
from app.cli.failing import Failure
from app.cli.screen import progress, say_json, say_line
from app.gateway.errors import AuditUnavailable
from app.wiring.moving import accept_loss, move_records


@click.command(epilog=exit_codes("all are moved", UNREADABLE, CONFIG))
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def move(source: str, as_json: bool) -> None:
    """Copy the records of SOURCE, sqlite:///PATH, into those of VX11_AUDIT_URL.

    Stop the gateways first. The database of VX11_AUDIT_URL must be on PostgreSQL, and
    empty. Both chains are checked, and SOURCE is left as it is.
    """
    settings = settings_or_exit()
    try:
        with progress("Moving", as_json=as_json) as tell:
            count, heads = move_records(settings, source, tell)
    except ValueError as error:
        raise Failure(CONFIG, f"SOURCE {error}") from None
    except AuditUnavailable as error:
        raise Failure(UNREADABLE, f"The records were not moved: {error}") from None
    if as_json:
        say_json({"records": count, "heads": heads})
        return
    say_line(f"{count} records moved, and both chains are whole")
    for head in heads:
        say_line(f"Head {head}")


@click.command("accept-loss", epilog=exit_codes("it is on record", UNREADABLE, CONFIG))
@click.confirmation_option(
    prompt="Records are lost for good if this is accepted. Go on?"
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def accept_losses(as_json: bool) -> None:
    """Let the chain go on from where it ends, though hosts know of later records.

    For a failover to a standby that lacked the last records. An event on record says
    so. On PostgreSQL only.
    """
    settings = settings_or_exit()
    try:
        lanes = accept_loss(settings)
    except AuditUnavailable as error:
        raise Failure(UNREADABLE, f"It was not put on record: {error}") from None
    except ValueError as error:
        raise Failure(CONFIG, f"VX11_AUDIT_URL: {error}") from None
    if as_json:
        say_json({"lanes": lanes})
    else:
        say_line(f"{lanes} lanes may go on from where they end")
