"""`chat`: talk to the gateway from a terminal."""

import json
import sys
from typing import Any
from uuid import uuid4

import click

from app.cli.client import GatewayClient


@click.command()
@click.argument("message", required=False)
@click.option("--session", default=None, help="Go on with this session id.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as JSON.")
def chat(message: str | None, session: str | None, as_json: bool) -> None:
    """Chat; words appear as they come. Without MESSAGE, line by line until Ctrl-D.

    \b
    Exit codes: 0 answered, 1 not answered, 69 no gateway, 78 bad settings.
    """
    client = GatewayClient.of_this_installation()
    session = session or str(uuid4())
    if message is not None:
        raise SystemExit(0 if _ask(client, message, session, as_json) else 1)
    for line in sys.stdin:
        if line.strip():
            _ask(client, line.strip(), session, as_json)


def _ask(client: GatewayClient, message: str, session: str, as_json: bool) -> bool:
    """Print the reply as it comes; return whether it is whole."""
    show = _show_json if as_json else _show
    last = ""
    for last, data in client.chat({"message": message, "session_id": session}):
        show(last, data)
    return last == "done"


def _show_json(event: str, data: dict[str, Any]) -> None:
    click.echo(json.dumps({"event": event, **data}))


def _show(event: str, data: dict[str, Any]) -> None:
    if event == "delta":
        click.echo(data["text"], nl=False)
    elif event == "done":
        how = "degraded, " if data["degraded"] else ""
        note = f"[{data['provider']}, {how}{data['latency_ms']:.0f} ms]"
        click.secho(f"\n{note}", dim=True, err=True)
    elif event == "error":
        click.secho(f"\n{data['detail']} ({data['code']})", fg="red", err=True)
