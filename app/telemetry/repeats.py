"""Repeats: errors that many chats have alike, as one line and a sum.

A full disk refuses thousands of chats a minute. A line for each would bury all others
in the log, and fill the disk that it is on.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

MINUTE = 60.0  # seconds
MOST_KINDS = 200  # of errors that differ; more are written as they come


@dataclass(slots=True)
class _Kind:
    first: logging.LogRecord
    more: int = 0


class Repeats:
    """Which lines are written, and what is told of the others. For one thread.

    Of errors of chats that say the same, the first of a minute is written, and at its
    end how many more there were. All other lines are written: those of lower levels,
    those with a trace, and those of no chat.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def is_written(self, record: logging.LogRecord) -> bool:
        """Count the record; say whether it is to be written now."""
        is_of_a_chat = getattr(record, "correlation_id", "-") != "-"
        if record.levelno < logging.ERROR or record.exc_info or not is_of_a_chat:
            return True
        try:
            key = record.name, record.getMessage()
        except Exception:  # whoever makes the line tells of it
            return True
        known = self._kinds.get(key)
        if known is not None:
            known.more += 1
            return False
        if len(self._kinds) < MOST_KINDS:
            self._kinds[key] = _Kind(record)
        return True

    def sums(self, now: float) -> Iterator[logging.LogRecord]:
        """Yield a line for what was repeated in a minute that is over.

        `now` is Unix time in seconds, as in records; a clock that was set back ends
        the minute, too.
        """
        for (name, message), kind in list(self._kinds.items()):
            if 0 <= now - kind.first.created < MINUTE:
                continue
            del self._kinds[name, message]
            if kind.more:
                words = "%s (%d more within a minute)"
                yield logging.LogRecord(
                    name, kind.first.levelno, "", 0, words, (message, kind.more), None
                )
