"""A streamed answer in Anthropic's wire, as it comes in.

Words keep it alive (`words_in_time`); pings are none. What makes it complete is its
`message_stop`, behind a reason and the end of each block. Nothing else does: neither
the end of the body nor silence. Events that we do not know are passed over, since
servers may send new ones.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.gateway.chat import Delta, ReplyFacts, Usage
from app.gateway.errors import BadReply, UpstreamError
from app.gateway.handler import ReplyStream
from app.upstreams.anthropic.blocks import SILENT, Blocks, finish_of, usage_of
from app.upstreams.anthropic.errors import failure, is_failure
from app.upstreams.openai.chunks import parsed
from app.upstreams.openai.errors.reading import NO_ECHO, Echo
from app.upstreams.openai.halves import Halves
from app.upstreams.openai.kept import KeptSize
from app.upstreams.openai.sse import ERROR, MAX_EVENT, Event, EventParser
from app.upstreams.replies import model_name
from app.upstreams.words_in_time import WordsInTime

Fields = Mapping[str, Any]

SETTLE = 0.05  # seconds for the end of the body, so that the connection can be kept

# An event that is no JSON may have been one of these, with words that are lost then.
OWN = (b"content_block", b"message_", b"delta", b"text")


class StreamedMessage(Iterator[Delta]):
    """The deltas of a streamed answer. It belongs to one thread.

    Where text alone is wanted (`as_text`), neither thoughts nor tool calls begin the
    reply. `echo` is what an error may repeat of the request. `size` is how large the
    answer may be, in bytes.
    """

    def __init__(
        self,
        pieces: WordsInTime,
        *,
        as_text: bool = False,
        is_begun: bool = False,
        echo: Echo = NO_ECHO,
        size: int = MAX_EVENT,
    ) -> None:
        self._pieces = pieces
        self._exchange = pieces.exchange
        self._parser = EventParser(size)
        self._as_text = as_text
        self._echo = echo
        self._blocks = Blocks(as_text=as_text, is_begun=is_begun)
        self._halves = Halves()
        self._kept = KeptSize(size)
        self._ready: deque[Delta] = deque()
        self._reason: str | None = None
        self._ending: dict[str, Any] = {"index": 0, "finish_reason": None}
        self._is_plain = True
        self._is_done = self._is_over = False
        self._broken_by: UpstreamError | None = None
        self.model = ""
        self.usage = Usage()

    def begin(self) -> None:
        """Return once words are in hand, or all of an answer that needs none.

        Raises an UpstreamError if it never came to that.
        """
        blocks = self._blocks
        while not (blocks.has_said or self._is_over):
            if blocks.has_thought and not self._as_text:
                break
            self._advance()
        if self._is_over:
            self._require_whole()
        self._pieces.begin()

    def __next__(self) -> Delta:
        while not self._ready:
            if self._is_over:
                self._require_whole()
                self._pieces.settle(SETTLE)
                raise StopIteration
            self._advance()
        return self._ready.popleft()

    @property
    def is_ready(self) -> bool:
        """Whether the next delta has come in already; see ReplyStream."""
        while not (self._ready or self._is_over) and self._pieces.holds_more():
            self._advance()
        return bool(self._ready)

    def report(self, stream: ReplyStream) -> None:
        """Tell at the reply's ending what is known only then."""
        stream.received, stream.unread = self._exchange.received, self._pieces.unread
        is_plain = self._is_plain and "stop_sequence" not in self._ending
        facts = ReplyFacts(
            usage=self.usage,
            finish_reason=self._ending["finish_reason"] or "stop",
            choices=() if is_plain else (self._ending,),
        )
        stream.learn(facts)

    def _require_whole(self) -> None:
        """Raise why this is not a whole answer, unless it is one."""
        try:
            if self._broken_by is not None:
                raise self._broken_by
            if not (self._is_done and self._reason and self._blocks.are_whole):
                raise BadReply("truncated")
            self._blocks.require_answer(self._reason)
        except UpstreamError as error:
            raise self._pieces.meaning(error) from None

    def _advance(self) -> None:
        """Take in the next piece. If it breaks, what came before it still counts."""
        try:
            piece = next(self._pieces, None)
            self._is_over = piece is None
            events = self._parser.end() if piece is None else self._parser.feed(piece)
            for event in events:
                self._take(event)
                if self._is_done:
                    self._is_over = True
                    return
            self._pass_over(self._parser.strays)
        except UpstreamError as error:
            self._is_over, self._broken_by = True, error

    def _take(self, event: Event) -> None:
        value = parsed(event.data, self._halves.parsed)
        if event.kind == ERROR or is_failure(value):
            content = value or event.data.decode("utf-8", "replace")
            raise failure(content, self._exchange.status, self._echo)
        if not isinstance(value, Mapping):
            self._pass_over([event.data])
            return
        kind = value.get("type")
        if not isinstance(kind, str):
            kind = event.kind.decode("ascii", "replace")
        if kind == "message_stop":
            self._is_done = True
        elif take := _TAKEN.get(kind):
            self._add(take(self, _mended(value, self._halves)) or SILENT, event.data)

    def _pass_over(self, odd: list[bytes]) -> None:
        """Pass over what is no event, unless words may be lost with it."""
        if any(sign in line for line in odd for sign in OWN):
            raise BadReply("protocol")
        odd.clear()

    def _take_block(self, value: Fields) -> Delta:
        return self._blocks.start(value.get("index"), value.get("content_block"))

    def _take_more(self, value: Fields) -> Delta:
        return self._blocks.more(value.get("index"), value.get("delta"))

    def _take_stop(self, value: Fields) -> Delta:
        return self._blocks.stop(value.get("index"))

    def _take_start(self, value: Fields) -> None:
        message = value.get("message")
        if not isinstance(message, Mapping):
            raise BadReply("schema")
        name = message.get("model")
        self.model = model_name(name if isinstance(name, str) else None)
        self.usage = usage_of(message.get("usage"), self.usage)

    def _take_end(self, value: Fields) -> None:
        delta = value.get("delta")
        if isinstance(delta, Mapping):
            reason, ending = finish_of(delta)
            if reason:
                self._reason, self._ending = reason, ending
        self.usage = usage_of(value.get("usage"), self.usage)

    def _add(self, delta: Delta, data: bytes) -> None:
        """Hand on what the event with that data has brought, if it is anything."""
        if not (delta.text or delta.choices):
            return
        self._kept.add_text(delta.text)
        if delta.choices:
            self._kept.add(data)
        self._is_plain = self._is_plain and not delta.choices
        self._ready.append(delta)
        self._pieces.renew()


def _mended(value: Fields, halves: Halves) -> Fields:
    """The event with whole characters only; the same one, as it mostly is."""
    if not halves.are_any:
        return value
    index = value.get("index")
    mended: Fields = halves.joined(value, index if isinstance(index, int) else None)
    return mended


_TAKEN: Mapping[object, Callable[[StreamedMessage, Fields], Delta | None]] = {
    "message_start": StreamedMessage._take_start,
    "content_block_start": StreamedMessage._take_block,
    "content_block_delta": StreamedMessage._take_more,
    "content_block_stop": StreamedMessage._take_stop,
    "message_delta": StreamedMessage._take_end,
}
