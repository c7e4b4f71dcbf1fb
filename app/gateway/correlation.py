"""Correlation ids: the one name under which a request is found everywhere.

The current one rides in a context variable, so that each log line can carry it
without being handed it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import uuid4

# Explicit ASCII classes and fullmatch: `\w` takes é, and `match` with `$` takes a
# trailing newline (both measured).
_WELL_FORMED = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}")

current: ContextVar[str] = ContextVar("correlation_id", default="-")


def new_id() -> str:
    """Return a fresh UUID4 as text."""
    return str(uuid4())


def is_well_formed(text: str) -> bool:
    """Whether an id from outside may be echoed: 1-128 harmless ASCII characters."""
    return _WELL_FORMED.fullmatch(text) is not None


@contextmanager
def correlated(correlation_id: str) -> Iterator[None]:
    """Make the id current inside the block; threads keep their context otherwise."""
    token = current.set(correlation_id)
    try:
        yield
    finally:
        current.reset(token)
