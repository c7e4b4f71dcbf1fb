"""Stream options: whether a server takes `stream_options`, by which usage is told.

The record wants the tokens of every chat, so usage is asked for until a server refuses
the field; a refusal costs one more try, and is remembered for a while.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

FIELD = "stream_options"
REMEMBERED = 3600.0  # seconds; a server may have been updated by then
# Statuses by which a field may be refused, and what an error names that is about it.
REFUSING = frozenset({400, 404, 405, 415, 422, 500, 501})
SIGNS = (b"stream_options", b"include_usage")


class StreamOptions:
    """What is known of one server. Threads may share it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._refused_until = clock()

    def options(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """The field to send, beside those that the caller asks for; none if refused."""
        if self._clock() < self._refused_until:
            return {}
        options = asked.get(FIELD)
        wanted = options if isinstance(options, Mapping) else {}
        return {FIELD: {**wanted, "include_usage": True}}

    def were_refused(self) -> None:
        """Take in that the server answers only without them."""
        self._refused_until = self._clock() + REMEMBERED


def are_refused(status: int, body: bytes) -> bool:
    """Whether an error may be about the stream options; asking again must show it."""
    return status in REFUSING and any(sign in body for sign in SIGNS)
