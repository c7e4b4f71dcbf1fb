"""Progress of long work: a bar on a terminal, and nothing for a file, pipe or JSON."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from app.wiring import OnProgress


@contextmanager
def progress(
    label: str, *, as_json: bool, terminal: TextIO | None = None
) -> Iterator[OnProgress]:
    """What long work is to tell how far it is; it shows on stderr."""
    terminal = terminal or sys.stderr
    if as_json or not terminal.isatty():
        yield lambda _done, _total: None
        return
    with click.progressbar(length=1, label=label, file=terminal) as bar:

        def tell(done: int, total: int) -> None:
            bar.length = max(1, total)
            bar.update(done - bar.pos)

        yield tell
