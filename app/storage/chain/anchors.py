"""Anchors: heads of the chain that are told outside of the database.

Whoever has one can show, later, that the database was put back to an earlier state,
or made anew. They go to the log, and to a file if one is set: on another mount, with
`chattr +a`, in a git repository.
"""

import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Thread

from app.storage.chain.knots import Place
from app.storage.chain.links import Head

log = logging.getLogger(__name__)

# Lines that are kept while the file cannot be written: two days of them.
LINES_KEPT = 2880

_HEAD = re.compile(r"(\d{1,9}):(\d{1,18}):([0-9a-f]{64})")
_ANCHOR = re.compile(rf"\banchor {_HEAD.pattern}\b")


class Anchors:
    """Tells anchors to the log and, if it has one, to a file. Threads may share it.

    The file is written by a thread of its own, so that a mount that hangs holds up
    no record.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._lock = Lock()  # guards the lines and the next one
        self._is_writing = False
        self._is_failing = False

    def __call__(self, head: Head) -> None:
        """Tell one; never waits for the file, and never raises."""
        log.info("Audit anchor %s", head)
        if self._file is None:
            return
        at = datetime.fromtimestamp(head.sealed_at, UTC)
        with self._lock:
            self._lines.append(f"{at:%Y-%m-%dT%H:%M:%SZ} anchor {head}\n")
            if self._is_writing:
                return
            self._is_writing = True
        try:
            Thread(target=self._write, name="audit-anchors", daemon=True).start()
        except RuntimeError:  # no thread to be had; the next anchor tries again
            self._is_writing = False

    def _write(self) -> None:
        while lines := self._next_lines():
            is_written = self._append("".join(lines))
            with self._lock:
                while is_written and self._lines and self._lines[0] in lines:
                    self._lines.popleft()
                if not is_written:
                    self._is_writing = False
                    return

    def _next_lines(self) -> tuple[str, ...]:
        with self._lock:
            self._is_writing = bool(self._lines)
            return tuple(self._lines)

    def _append(self, text: str) -> bool:
        try:
            with self._file.open("a", encoding="ascii") as file:  # type: ignore[union-attr]
                file.write(text)
        except OSError as error:
            if not self._is_failing:
                log.error("VX11_ANCHOR_FILE cannot be written: %s", error.strerror)
            self._is_failing = True
            return False
        self._is_failing = False
        return True


def parse_head(text: str) -> Place:
    """Return the head that `str(Head)` has made. Raises ValueError for another text."""
    if not (found := _HEAD.fullmatch(text)):
        raise ValueError("must be LANE:SEQ:DIGEST, as `records verify` prints it")
    return _place(found)


def anchors_in(lines: Iterable[str]) -> Iterator[Place]:
    """Yield the anchors of a file of them, or of a log."""
    for line in lines:
        yield from map(_place, _ANCHOR.finditer(line))


def _place(found: re.Match[str]) -> Place:
    lane, seq, digest = found.groups()
    return Place(int(lane), int(seq), bytes.fromhex(digest))
