"""KeptSize: how much of a stream is kept for its record."""

from app.gateway.errors import BadReply
from app.gateway.strict_json import ValueCounter
from app.upstreams.openai.sse import MAX_EVENT

# As many as in 4,000 tokens, each with 20 others and their bytes. An object takes 240
# bytes, any other value up to 90.
MOST_VALUES = 800_000
MOST_CONTAINERS = 190_000

# Such tokens have 6 MB. Text is in memory up to five times while it is redacted and
# written, with up to 4 bytes for each character; a million tokens have so many.
# Where an answer may be larger than that by its setting, so may these.
BYTES_SHARE = 1 / 2
TEXT_SHARE = 1 / 4

# What is around a word in each event, and is not kept.
FRAME_BYTES = 200
FRAME_VALUES = 10
FRAME_CONTAINERS = 3


class KeptSize:
    """Counts the text, and what is in all events that hold more. One thread's.

    `most` is the size in bytes that the whole answer may have by its setting.
    """

    def __init__(self, most: int = MAX_EVENT) -> None:
        self._most_bytes, self._most_text = most * BYTES_SHARE, most * TEXT_SHARE
        self._text = self._bytes = self._values = self._containers = 0

    def add_text(self, text: str) -> None:
        """Take in words that will be kept; BadReply if it is too much with them."""
        self._text += len(text)
        if self._text > self._most_text:
            raise BadReply("too_large")

    def add(self, data: bytes) -> None:
        """Take in an event that will be kept; BadReply if it is too much with it."""
        event = ValueCounter()
        event.feed(data)
        self._bytes += max(0, len(data) - FRAME_BYTES)
        self._values += max(0, event.found - FRAME_VALUES)
        self._containers += max(0, event.containers - FRAME_CONTAINERS)
        if (
            self._bytes > self._most_bytes
            or self._values > MOST_VALUES
            or self._containers > MOST_CONTAINERS
        ):
            raise BadReply("too_large")
