"""Commands: parse, call the core, print.

Rule of this room: a command holds no logic that a console or a test could want;
it looks at the core and at the settings, and at nothing else of the house.
"""

import click

from app.cli.chat import chat
from app.cli.config import config
from app.cli.post_task import post_task
from app.cli.records import records
from app.cli.run import run
from app.cli.status import explain, status
from app.cli.token import token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run and look after the chat gateway.

    Settings come from VX11_* variables and from the file named by VX11_CONFIG.
    """


for command in (run, chat, status, explain, records, config, post_task, token):
    main.add_command(command)
