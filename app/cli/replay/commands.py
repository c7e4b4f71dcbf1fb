"""`replay`: the commands that ask again what is on record."""

import click

from app.cli.exits import (
    CONFIG,
    NOT_ALLOWED,
    REFUSING,
    UNAVAILABLE,
    UNFAITHFUL,
    UNREADABLE,
    exit_codes,
)
from app.cli.replay.ask import ask
from app.cli.replay.run import run


@click.group(
    epilog=exit_codes(
        "done",
        UNFAITHFUL,
        UNAVAILABLE,
        REFUSING,
        UNREADABLE,
        NOT_ALLOWED,
        CONFIG,
        no="see the command",
    )
)
def replay() -> None:
    """Ask again what is on record, of the same upstream or another, and compare.

    Replays go through the running gateway and are on record themselves. They are part
    of no user's numbers, and no evidence about an upstream.
    """


replay.add_command(ask)
replay.add_command(run)
