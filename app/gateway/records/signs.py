"""Signs: what is odd about clock and disk of the records, and their room."""

from dataclasses import dataclass
from typing import NamedTuple


class AuditSpace(NamedTuple):
    """The room of the records in bytes; None where nobody here can tell.

    `log` is the size of what is committed and not yet brought into the database,
    `free` is the space that is left for more.
    """

    log: int | None = None
    free: int | None = None


NOTHING_KNOWN = AuditSpace()


@dataclass(frozen=True, slots=True)
class TrailSigns:
    """What is odd about the clock and the disk, though records can be written.

    `clock_step` is by how many seconds the wall clock was set, 0.0 if it was not,
    and `stepped_for` how many seconds ago. `writing_for` is for how many seconds the
    write that is going on has lasted, 0.0 if there is none.
    """

    clock_step: float = 0.0
    stepped_for: float = 0.0
    space: AuditSpace = NOTHING_KNOWN
    writing_for: float = 0.0
