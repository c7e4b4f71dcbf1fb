"""HeadNotes: the newest head of each lane that this host has seen committed.

A database that was put back, or a standby that lacked the last records, ends a lane
sooner than its writer knows. The notes are files, so that also the worker knows that
starts after all others have ended. They are not synced: what a power cut takes of them
is a missed warning, and no record.
"""

import os
from pathlib import Path

from app.host.files import open_private
from app.storage.chain.anchors import parse_head
from app.storage.chain.knots import Place
from app.storage.chain.links import Head

FOLDER = "audit.heads"


class HeadNotes:
    """One small file for each lane, in the state folder; None: nothing is noted.

    It belongs to one thread. Raises OSError.
    """

    def __init__(self, state_dir: Path | None) -> None:
        self._folder = state_dir and state_dir / FOLDER
        self._lane, self._fd = 0, -1

    def of(self, lane: int) -> Place | None:
        """Return what was noted of a lane."""
        if self._folder is None:
            return None
        try:
            return parse_head((self._folder / str(lane)).read_text("ascii").strip())
        except (FileNotFoundError, ValueError):
            return None

    def keep(self, head: Head) -> None:
        """Note the head of a lane."""
        if self._folder is None:
            return
        if self._lane != head.lane:
            self.close()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = open_private(self._folder / str(head.lane))
            self._lane = head.lane
        os.pwrite(self._fd, f"{head}".ljust(100).encode() + b"\n", 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._lane, self._fd = 0, -1
