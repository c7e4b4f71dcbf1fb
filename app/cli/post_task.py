"""`post-task`: the last step of the deployment flow."""

import json

import click

from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, UNAVAILABLE, exit_codes
from app.cli.failing import Failure
from app.cli.screen import say_json, say_line
from app.gateway.errors import GatewayError
from app.settings import SettingsError
from app.wiring import run_post_task

SECONDS = 30.0


@click.command(
    "post-task", epilog=exit_codes("done", CONFIG, _69="madre did not do it")
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def post_task(as_json: bool) -> None:
    """Ask madre to run its maintenance after a deployment.

    Calls POST /madre/power/maintenance/post_task once.
    """
    try:
        answer = run_post_task(settings_or_exit(), SECONDS)
    except SettingsError as error:
        raise Failure(CONFIG, *error.problems) from None
    except GatewayError as error:
        raise Failure(UNAVAILABLE, f"madre did not do it: {error}") from None
    if as_json:
        say_json({"answer": answer})
        return
    try:
        say_json(json.loads(answer))
    except ValueError:
        say_line(answer)
