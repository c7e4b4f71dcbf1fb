"""`config`: look at the settings before they matter."""

import json
from typing import Any

import click

from app.cli.client import settings_or_exit
from app.settings import Settings


@click.group()
def config() -> None:
    """Check the settings."""


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def check(as_json: bool) -> None:
    """Name every error at once, or print what is in force; secrets stay hidden.

    \b
    Exit codes: 0 usable, 78 not usable.
    """
    values = _effective(settings_or_exit())
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        click.echo(f"{name:<28} {value}")


def _effective(settings: Settings) -> dict[str, Any]:
    values = settings.model_dump(mode="json")
    values["upstreams"] = [
        upstream.model_dump(mode="json") for upstream in settings.effective_upstreams()
    ]
    return {f"VX11_{name.upper()}": value for name, value in values.items()}
