"""What is in an event stream and is no chunk: whether it may be passed over."""

from pydantic_core import from_json

from app.gateway.errors import BadReply
from app.upstreams.openai.errors.meanings import is_failure

# A malformed event is skipped if it cannot have held words of the answer. It can if
# one of these is in it, or if it begins as the stream's own events do.
SIGNS_OF_WORDS = (b"choices", b"delta", b"content", b"chat.completion", b"chatcmpl")
BEGINNING = 8  # bytes: `{"id":"c`, say
# What is no object, and tells of an error: by its words, or since it is a page.
MAX_TOLD = 1024  # bytes in which they stand
MAX_OBJECT = 64 * 1024  # bytes of an object that is read
SIGNS_OF_ERRORS = (b"error", b"exception", b"bad gateway", b"unavailable", b"<html")


class Skips:
    """Knows a stream's own events by how they begin. It belongs to one thread."""

    def __init__(self) -> None:
        self._likeness = b""  # once one came
        self.are_any = False

    def learn(self, own: bytes) -> None:
        """Take in how one of the stream's own events looks."""
        self._likeness = own[:BEGINNING]

    def skip(self, odd: bytes, *, may_be_alien: bool = False) -> None:
        """Pass over what is no chunk; BadReply if words may be lost with it.

        A truncated first event is assumed to belong to the stream; a whole object may
        come from a proxy (`may_be_alien`).
        """
        self.are_any = True
        beginning = odd[:BEGINNING]
        own = self._likeness or (b"" if may_be_alien else beginning)
        is_alike = beginning.startswith(b"{") and own.startswith(beginning)
        if is_alike or any(sign in odd for sign in SIGNS_OF_WORDS):
            raise BadReply("protocol")
        if _tells_of_an_error(odd):
            raise BadReply("upstream_error")

    def skip_line(self, line: bytes) -> None:
        """The same for a line that is no field; it may be a damaged one."""
        self.skip(line[max(0, line.find(b"{")) :])


def _tells_of_an_error(odd: bytes) -> bool:
    if odd.startswith(b"{") and len(odd) <= MAX_OBJECT:
        try:
            return is_failure(from_json(odd))
        except ValueError:
            pass
    told = odd[:MAX_TOLD].lower()
    return any(sign in told for sign in SIGNS_OF_ERRORS)
