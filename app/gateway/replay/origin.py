"""Origin: what makes a request a replay."""

from typing import NamedTuple

# The route of chats that an operator has asked again. They are on record like all
# others, and no part of what is told of users' chats.
REPLAY = "replay"


class Replay(NamedTuple):
    """The repetition of an earlier chat: of which record, and whom alone it asks."""

    source: str
    upstream: str
