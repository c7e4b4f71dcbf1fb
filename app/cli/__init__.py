"""Commands: parse, call the core, print.

Rule of this room: a command holds no logic that a console or a test could want;
it looks at the core, the settings and `wiring`, which builds what it calls.
"""

import click

from app.cli.chat import chat
from app.cli.config import config
from app.cli.copies import backup, restore
from app.cli.doctor import doctor
from app.cli.evidence.backtest import backtest
from app.cli.evidence.report import report
from app.cli.exits import MEANINGS, exit_codes
from app.cli.failing import Commands
from app.cli.post_task import post_task
from app.cli.records import records
from app.cli.replay.commands import replay
from app.cli.replay.play import play
from app.cli.retention.erase import erase
from app.cli.run import run
from app.cli.several_hosts.shared_records import accept_losses, move
from app.cli.status import explain, status
from app.cli.token import token


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=exit_codes("done", *MEANINGS),
)
def main() -> None:
    """Run and look after the chat gateway.

    Settings come from VX11_* variables and from the file named by VX11_CONFIG.

    With --json a command prints JSON, and if it fails an object with `error`.
    """


records.add_command(play)
for command in (
    run,
    chat,
    status,
    explain,
    doctor,
    records,
    replay,
    backup,
    restore,
    report,
    backtest,
    config,
    post_task,
    token,
):
    main.add_command(command)
for part in (erase, move, accept_losses):
    records.add_command(part)
