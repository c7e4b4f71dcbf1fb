"""The screen: the one way by which commands print, since much of it is foreign text."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from app.gateway.screen import json_text, one_line, shown
from app.wiring import OnProgress


def say(text: str, *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print text of any number of lines; `style` is click's."""
    click.secho(shown(text), err=err, nl=nl, **style)


def say_line(text: str, *, err: bool = False) -> None:
    """Print one line: what would begin another is shown by its number."""
    click.echo(one_line(text), err=err)


def say_json(value: Any, indent: int | None = None) -> None:
    """Print JSON in printable ASCII."""
    click.echo(json_text(value, indent))


@contextmanager
def progress(
    label: str, *, as_json: bool, terminal: TextIO | None = None
) -> Iterator[OnProgress]:
    """What long work is to tell how far it is: a bar on a terminal's stderr.

    Nothing for a file, a pipe or JSON.
    """
    terminal = terminal or sys.stderr
    if as_json or not terminal.isatty():
        yield lambda _done, _total: None
        return
    with click.progressbar(length=1, label=label, file=terminal) as bar:

        def tell(done: int, total: int) -> None:
            bar.length = max(1, total)
            bar.update(done - bar.pos)

        yield tell
