"""`post-task`: the last step of the deployment flow."""

import click

from app.cli.client import EXIT_UNAVAILABLE, settings_or_exit
from app.gateway.errors import GatewayError
from app.wiring import run_post_task

SECONDS = 30.0


@click.command("post-task")
def post_task() -> None:
    """Ask madre to run its maintenance after a deployment.

    Calls POST /madre/power/maintenance/post_task once.

    \b
    Exit codes: 0 done, 69 madre did not do it, 78 bad settings.
    """
    try:
        answer = run_post_task(settings_or_exit(), SECONDS)
    except GatewayError as error:
        click.echo(f"madre did not do it: {error}", err=True)
        raise SystemExit(EXIT_UNAVAILABLE) from None
    click.echo(answer)
