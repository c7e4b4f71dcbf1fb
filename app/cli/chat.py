"""`chat`: talk to the gateway from a terminal."""

import sys
from typing import Any
from uuid import uuid4

import click

from app.cli.client import GatewayClient
from app.cli.exits import CONFIG, NOT_ALLOWED, UNAVAILABLE, exit_codes
from app.cli.screen import say, say_json


@click.command(
    epilog=exit_codes(
        "answered", UNAVAILABLE, NOT_ALLOWED, CONFIG, no="not answered, or not all"
    )
)
@click.argument("message", required=False)
@click.option("--session", default=None, help="Go on with this session id.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as JSON.")
def chat(message: str | None, session: str | None, as_json: bool) -> None:
    """Chat; words appear as they come. Without MESSAGE, line by line until Ctrl-D."""
    client = GatewayClient.of_this_installation()
    session = session or str(uuid4())
    lines = sys.stdin if message is None else [message]
    said = (line.strip() for line in lines)
    answered = [_ask(client, words, session, as_json) for words in said if words]
    raise SystemExit(0 if all(answered) else 1)


def _ask(client: GatewayClient, message: str, session: str, as_json: bool) -> bool:
    """Print the reply as it comes; return whether it is whole."""
    show = _show_json if as_json else _show
    last = ""
    for last, data in client.chat({"message": message, "session_id": session}):
        show(last, data)
    return last == "done"


def _show_json(event: str, data: dict[str, Any]) -> None:
    error = {"error": data.get("detail")} if event == "error" else {}
    say_json({"event": event, **error, **data})


def _show(event: str, data: dict[str, Any]) -> None:
    if event == "delta":
        say(str(data.get("text")), nl=False)
    elif event == "done":
        say(f"\n{_note(data)}", dim=True, err=True)
    elif event == "error":
        sentence = f"{data.get('detail')} ({data.get('code')})"
        say(f"\n{sentence}", fg="red", err=True)


def _note(done: dict[str, Any]) -> str:
    how = "degraded, " if done.get("degraded") else ""
    return f"[{done.get('provider')}, {how}{done.get('latency_ms', 0):.0f} ms]"
