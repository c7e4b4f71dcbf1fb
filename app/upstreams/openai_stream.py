"""A streamed answer of an OpenAI-speaking upstream, as it comes in.

What keeps it alive are words: heartbeats, roles and empty deltas do not count, and only
time spent waiting for the upstream does, not what its reader takes. What makes it
complete is a finish reason for each choice; one that ends without was cut. `[DONE]`
alone ends one choice of nothing but text, by a server that tells no reasons; callers
are then told `stop`, because clients take an answer without a reason for a broken one.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

from pydantic_core import from_json

from app.gateway.budget import Budget, Clock
from app.gateway.chat import Delta, Usage, is_blank
from app.gateway.errors import (
    BadReply,
    CallerFault,
    Interrupted,
    NoAnswer,
    UpstreamError,
)
from app.gateway.handler import Outcome, ReplyStream
from app.gateway.strict_json import holds_more_values
from app.upstreams import openai_chunks as chunks
from app.upstreams.openai_errors import failure, is_failure
from app.upstreams.sse import ERROR, Event, EventParser
from app.upstreams.transport import Exchange

DONE = b"[DONE]"
BARE_END = "stop"  # the reason that is told where `[DONE]` alone ended an answer

MOST_VALUES = 30_000  # in one event; a token with its probabilities has 200
TAIL = 2.0  # seconds that usage and `[DONE]` may take after the last finish reason
SETTLE = 0.05  # seconds for the end of the body, so that the connection can be kept

# The transport's words for being late; which limit it was, only we know.
TIMEOUTS = frozenset({"read_timeout", "write_timeout", "deadline"})

# A malformed event is skipped if it cannot have held words of the answer. It can if
# one of these is in it, or if it begins as the stream's own events do.
SIGNS_OF_WORDS = (b"choices", b"delta", b"content", b"chat.completion", b"chatcmpl")
BEGINNING = 8  # bytes: `{"id":"c`, say


class StreamedReply(Iterator[Delta]):
    """The deltas of a streamed answer. It belongs to one thread.

    `budget` bounds all of it. `words_by` is the time by which the first words must
    have come, as a budget; `idle_limit` is in seconds. `expected` choices must
    finish. With `as_text` the caller is told text alone: thoughts do not begin the
    reply, and a refusal's words are its text.
    """

    def __init__(
        self,
        exchange: Exchange,
        budget: Budget,
        words_by: Budget,
        idle_limit: float,
        expected: int = 1,
        *,
        as_text: bool = False,
        clock: Clock = monotonic,
    ) -> None:
        self._exchange = exchange
        self._pieces = exchange.pieces()
        self._parser = EventParser()
        self._budget = budget
        self._idle_limit = idle_limit
        self._expected = expected
        self._as_text = as_text
        self._clock = clock
        self._patience = words_by.remaining()  # seconds of waiting for the upstream
        self._left_at = clock()  # when that waiting was last over
        self._unread = 0.0
        self._ready: deque[Delta] = deque()
        self._finishes: dict[int, str | None] = {}
        self._usage = Usage()
        self._has_begun = False
        self._answered = self._thought = False
        self._is_done = self._is_over = False
        self._broken_by: UpstreamError | None = None
        self._is_finished = False  # whether each choice has its finish reason
        self._is_plain = True
        self._is_prose = True  # nothing came but text and thoughts
        self._likeness = b""  # how the stream's own events begin, once one came
        self.model = ""

    def begin(self) -> None:
        """Return once words are in hand, or all of an answer that needs none.

        Raises an UpstreamError if it never came to that.
        """
        while not (self._answered or self._is_over):
            if self._thought and not self._as_text:
                break
            self._advance()
        if self._is_over:
            self._require_whole()
        self._has_begun = True

    def __next__(self) -> Delta:
        while not self._ready:
            if self._is_over:
                self._require_whole()
                self._settle()
                raise StopIteration
            self._advance()
        return self._ready.popleft()

    @property
    def is_ready(self) -> bool:
        """Whether the next delta has come in already; see ReplyStream."""
        while not (self._ready or self._is_over) and self._exchange.holds_more():
            self._advance()
        return bool(self._ready)

    def report(self, stream: ReplyStream) -> None:
        """Tell at the reply's ending what is known only then."""
        stream.received, stream.unread = self._exchange.received, self._unread
        first = self._finishes.get(0)
        stream.annotate(usage=self._usage, finish_reason=first or BARE_END)
        if not self._is_plain:
            bare = BARE_END if stream.outcome is Outcome.COMPLETED else None
            told = [
                {"index": index, "finish_reason": reason or bare}
                for index, reason in sorted(self._finishes.items())
            ]
            stream.annotate(choices=tuple(told))

    def _is_whole_if(self, *, is_done: bool) -> bool:
        return chunks.is_whole(
            self._finishes.values(),
            expected=self._expected,
            is_ended=is_done,
            is_prose=self._is_prose,
        )

    def _require_whole(self) -> None:
        """Raise why this is not a whole answer, unless it is one."""
        try:
            if self._broken_by is not None:
                raise self._broken_by
            if not self._is_whole_if(is_done=self._is_done):
                raise BadReply("truncated")
            chunks.require_answer(
                self._finishes.values(),
                answered=self._answered,
                thought=self._thought,
                as_text=self._as_text,
            )
        except UpstreamError as error:
            raise self._meaning(error) from None

    def _advance(self) -> None:
        """Take in the next piece. If it breaks, what came before it still counts."""
        try:
            piece = self._next_piece()
            self._is_over = piece is None
            self._take_events(piece)
        except UpstreamError as error:
            self._is_over = True
            if not self._is_finished:
                self._broken_by = error

    def _next_piece(self) -> bytes | None:
        """Wait for the upstream; the time since the last wait was the reader's."""
        entered = self._clock()
        self._unread += entered - self._left_at
        self._exchange.rearm(self._budget.within(self._patience))
        try:
            return next(self._pieces, None)
        finally:
            self._left_at = self._clock()
            self._patience -= self._left_at - entered

    def _take_events(self, piece: bytes | None) -> None:
        events = self._parser.end() if piece is None else self._parser.feed(piece)
        for event in events:
            if self._parser.strays:
                self._skip_strays()
            if event.data.strip() == DONE:
                self._is_done = self._is_over = True
                return
            self._take(event)
        self._skip_strays()

    def _take(self, event: Event) -> None:
        chunk = _parsed(event.data)
        if event.kind == ERROR or is_failure(chunk):
            raise failure(chunk, self._exchange.status)
        if not chunks.is_chunk(chunk):
            self._skip(event.data, may_be_alien=isinstance(chunk, dict))
            return
        self._likeness = event.data[:BEGINNING]
        self.model = self.model or chunks.model_of(chunk)
        self._usage = chunks.usage_of(chunk) or self._usage
        choices = chunks.choices_of(chunk)
        if text := chunks.words_of(choices):
            self._take_words(text)
        elif choices:
            self._take_choices(choices)

    def _skip(self, odd: bytes, *, may_be_alien: bool = False) -> None:
        """Pass over what is no chunk, unless words of the answer may be lost with it.

        A first event that is cut is taken for the stream's own; a whole object may
        as well be somebody else's.
        """
        self._is_prose = False  # it may have told of a failure
        beginning = odd[:BEGINNING]
        own = self._likeness or (b"" if may_be_alien else beginning)
        is_alike = beginning.startswith(b"{") and own.startswith(beginning)
        if is_alike or any(sign in odd for sign in SIGNS_OF_WORDS):
            raise BadReply("protocol")

    def _skip_strays(self) -> None:
        while strays := self._parser.strays:
            line = strays.pop()
            self._skip(line[max(0, line.find(b"{")) :])  # behind a damaged field

    def _take_words(self, text: str) -> None:
        self._ready.append(Delta(text))
        if 0 not in self._finishes:
            self._finishes[0], self._is_finished = None, False
        if not is_blank(text):
            self._answered = True
            self._go_on()

    def _take_choices(self, choices: tuple[chunks.Choice, ...]) -> None:
        delta = chunks.delta_of(choices, as_text=self._as_text)
        if delta.text or delta.choices:
            self._ready.append(delta)
        self._is_plain = self._is_plain and not delta.choices
        was_finished = self._is_finished
        self._note_words(delta.text, choices)
        for choice in choices:
            index = choice.get("index", 0)
            reason = chunks.finish_of(choice)
            self._finishes[index] = reason or self._finishes.get(index)
        self._is_finished = self._is_whole_if(is_done=False)
        if self._is_finished and not was_finished:
            self._patience = TAIL

    def _note_words(self, text: str, choices: tuple[chunks.Choice, ...]) -> None:
        parts = [chunks.part_of(choice, "delta") for choice in choices]
        answers = any(map(chunks.is_answer, parts))
        thinks = any(chunks.has_any(part, chunks.THOUGHT) for part in parts)
        self._answered |= not is_blank(text) if self._as_text else answers
        self._thought |= thinks
        self._is_prose &= all(map(chunks.is_prose, parts))
        if answers or thinks:
            self._go_on()

    def _go_on(self) -> None:
        """Words came: those that follow have the whole time again."""
        if not self._is_finished:
            self._patience = self._idle_limit

    def _settle(self) -> None:
        """Read to the end of the body, if it is as good as there."""
        if not self._is_done:
            return
        self._exchange.rearm(self._budget.within(SETTLE))
        with suppress(UpstreamError):
            for _ in self._pieces:
                pass

    def _meaning(self, error: UpstreamError) -> UpstreamError:
        """What an error is to whoever reads: one of the beginning, or a break."""
        limit = "stream_idle" if self._has_begun else "first_token"
        error = named(error, limit, self._budget)
        if self._has_begun and not isinstance(error, CallerFault):
            error = Interrupted(error.fault)
        error.status, error.received = self._exchange.status, self._exchange.received
        return error


def named(error: UpstreamError, limit: str, budget: Budget) -> UpstreamError:
    """An error under the name of the limit that it met before the budget's end."""
    is_late = isinstance(error, NoAnswer) and error.fault in TIMEOUTS
    return NoAnswer(limit) if is_late and budget.remaining() > 0 else error


def _parsed(data: bytes) -> object:
    if holds_more_values(data, MOST_VALUES):
        raise BadReply("too_large")
    try:
        return from_json(data)
    except ValueError:
        return None
