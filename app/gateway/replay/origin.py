"""Origin: what makes a request a replay."""

from typing import NamedTuple


class Replay(NamedTuple):
    """The repetition of an earlier chat: of which record, and whom alone it asks."""

    source: str
    upstream: str
