"""The screen: the one way by which commands print, since much of it is foreign text."""

from typing import Any

import click

from app.gateway.screen import json_text, one_line, shown


def say(text: str, *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print text of any number of lines; `style` is click's."""
    click.secho(shown(text), err=err, nl=nl, **style)


def say_line(text: str, *, err: bool = False) -> None:
    """Print one line: what would begin another is shown by its number."""
    click.echo(one_line(text), err=err)


def say_json(value: Any, indent: int | None = None) -> None:
    """Print JSON in printable ASCII."""
    click.echo(json_text(value, indent))
