"""Correlation ids: the id of a request in answers, logs, records and upstreams.

The current one rides in a context variable, so that each log line can carry it
without being handed it.
"""

import os
import re
from contextvars import ContextVar

# Explicit ASCII classes and fullmatch: `\w` takes é, and `match` with `$` takes a
# trailing newline (both measured).
_WELL_FORMED = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}")

# The variant of RFC 9562, section 4.1, and what it and the version leave to chance.
_VARIANT = 0x2 << 62
_RANDOM_BITS = ~(0xF << 76 | 0x3 << 62)

current: ContextVar[str] = ContextVar("correlation_id", default="-")


def new_id() -> str:
    """Return a fresh UUID4 as text, which nobody can foretell from others.

    A session begins under such an id, and whoever knows it can go on in it.
    """
    return as_uuid(os.urandom(16))


def as_uuid(noise: bytes, version: int = 4) -> str:
    """Return 16 bytes that look random as the text of a UUID."""
    bits = int.from_bytes(noise) & _RANDOM_BITS | version << 76 | _VARIANT
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_well_formed(text: str) -> bool:
    """Whether an id from outside may be echoed: 1-128 harmless ASCII characters."""
    return _WELL_FORMED.fullmatch(text) is not None
