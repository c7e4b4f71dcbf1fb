"""A streamed answer of an OpenAI-speaking upstream, as it comes in.

Words keep it alive (`words_in_time`); roles and empty deltas are none.

What makes it complete is a finish reason for each choice, and then `[DONE]`, the end of
the body, a chunk of usage, or silence (docs/decisions/0012). Where `[DONE]` alone ends
it, callers are told `stop`: clients take an answer without a reason for a broken one.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from app.gateway.blank import is_blank
from app.gateway.chat import THOUGHTS, Delta, ReplyFacts, Usage
from app.gateway.errors import BadReply, UpstreamError
from app.gateway.handler import Outcome, ReplyStream
from app.upstreams.openai import chunks
from app.upstreams.openai.ending import Ending, State
from app.upstreams.openai.envelope import (
    OURS,
    extra_of,
    later_usage,
    model_of,
    usage_of,
)
from app.upstreams.openai.errors.meanings import failure, is_failure
from app.upstreams.openai.halves import Halves
from app.upstreams.openai.kept import KeptSize
from app.upstreams.openai.request.tasks import as_chat
from app.upstreams.openai.skips import Skips
from app.upstreams.openai.sse import ERRORS, MAX_EVENT, MESSAGE, Event, EventParser
from app.upstreams.openai.tool_calls import ToolCalls
from app.upstreams.words_in_time import WordsInTime

DONE = b"[DONE]"
BARE_END = "stop"  # the reason that is told where `[DONE]` alone ended an answer
SETTLE = 0.05  # seconds for the end of the body, so that the connection can be kept

# Seconds of silence that make an answer complete. Filters flush words up to 3 s after
# the finish reason; behind the usage there is `[DONE]` or nothing.
QUIET = {State.FINISHED: 5.0, State.TOLD: 0.5}


class StreamedReply(Iterator[Delta]):
    """The deltas of a streamed answer. It belongs to one thread.

    Where text alone is wanted, thoughts do not begin the reply, and a refusal's words
    are its text.
    """

    def __init__(
        self,
        pieces: WordsInTime,
        wanted: chunks.Wanted = chunks.ANYTHING,
        max_event: int = MAX_EVENT,
    ) -> None:
        self._pieces = pieces
        self._exchange = pieces.exchange
        self._parser = EventParser(max_event)
        self._wanted = wanted
        self._ready: deque[Delta] = deque()
        self._ending = Ending(wanted.choices)
        self._calls: dict[int, ToolCalls] = {}  # by the index of the choice
        self._usage = Usage()
        self._extra: dict[str, Any] = {}  # what stands around the choices
        self._untold: dict[str, Any] = {}  # of that, what no delta has brought yet
        self._halves = Halves()
        self._answered = self._thought = False
        self._is_done = self._is_over = False
        self._broken_by: UpstreamError | None = None
        self._is_plain = True
        self._is_prose = True  # nothing came but text and thoughts
        self._skips = Skips()
        self._kept = KeptSize(max_event)
        self.model = ""

    def begin(self) -> None:
        """Return once words are in hand, or all of an answer that needs none.

        Raises an UpstreamError if it never came to that.
        """
        while not (self._answered or self._is_over):
            if self._thought and not self._wanted.as_text:
                break
            self._advance()
        if self._is_over:
            self._require_whole()
        self._pieces.begin()

    def __next__(self) -> Delta:
        while not self._ready:
            if self._is_over:
                self._require_whole()
                if self._is_done:
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
        reasons = {i: self._reason(i) for i in sorted(self._ending.reasons)}
        bare = BARE_END if stream.outcome is Outcome.COMPLETED else None
        choices = tuple(
            {"index": index, "finish_reason": reason or bare}
            for index, reason in reasons.items()
            if not self._is_plain
        )
        first = reasons.get(0) or BARE_END
        stream.learn(
            ReplyFacts(
                usage=self._usage,
                finish_reason=first,
                choices=choices,
                extra=self._extra,
            )
        )

    def _reason(self, index: int) -> str | None:
        reason, calls = self._ending.reasons[index], self._calls.get(index)
        return calls.ending(reason) if calls else reason

    def _require_whole(self) -> None:
        """Raise why this is not a whole answer, unless it is one."""
        reasons = self._ending.reasons
        try:
            if self._broken_by is not None:
                raise self._broken_by
            is_ended = self._is_done and self._is_prose and not self._skips.are_any
            if not chunks.is_whole(reasons.values(), is_ended=is_ended):
                raise BadReply("truncated")
            chunks.require_whole_calls(self._calls, reasons)
            chunks.require_answer(
                reasons.values(),
                self._wanted,
                answered=self._answered,
                thought=self._thought,
            )
        except UpstreamError as error:
            raise self._pieces.meaning(error) from None

    def _advance(self) -> None:
        """Take in the next piece. If it breaks, what came before it still counts."""
        try:
            piece = next(self._pieces, None)
        except UpstreamError as error:
            self._is_over = True
            if not self._is_complete_despite(error):
                self._broken_by = error
            return
        self._is_over = piece is None
        try:
            self._take_events(piece)
        except UpstreamError as error:
            self._is_over, self._broken_by = True, error
        if self._is_over and (rest := (*self._halves.rest(), *self._rest_of_calls())):
            self._hand_on(chunks.delta_of(rest, as_text=self._wanted.as_text))

    def _rest_of_calls(self) -> Iterator[chunks.Choice]:
        """What calls without arguments lack for clients that read these as JSON."""
        for index, calls in self._calls.items():
            if rest := calls.rest(self._ending.reasons.get(index)):
                yield {"index": index, "delta": rest, "finish_reason": None}

    def _is_complete_despite(self, error: UpstreamError) -> bool:
        """Whether the end of the waiting, for more than has come, is no loss.

        A reset behind a finish reason is one: the reason may have been none.
        """
        state, is_quiet = self._ending.state, self._pieces.is_silence(error)
        return state is State.TOLD or (state is State.FINISHED and is_quiet)

    def _take_events(self, piece: bytes | None) -> None:
        events = self._parser.end() if piece is None else self._parser.feed(piece)
        for event in events:
            if self._parser.strays:
                self._skip_strays()
            if event.data.strip() == DONE:
                self._is_done = self._is_over = True
                return
            chunk = chunks.parsed(event.data, self._halves.parsed)
            if not self._takes_plain(event, chunk):
                self._take(event, chunk)
        self._skip_strays()

    def _take(self, event: Event, chunk: object) -> None:
        if event.kind.lower() in ERRORS or is_failure(chunk):
            content = chunk or event.data.decode("utf-8", "replace")
            raise failure(content, self._exchange.status, self._wanted.echo)
        if not chunks.is_chunk(chunk):
            self._skips.skip(event.data, may_be_alien=isinstance(chunk, dict))
            return
        if self._wanted.is_text:
            chunk = as_chat(chunk, "delta")
        self._skips.learn(event.data)
        self.model = self.model or model_of(chunk)
        self._usage = later_usage(self._usage, chunk)
        if not chunk.keys() <= OURS:
            self._take_extra(extra_of(chunk))
        if (text := chunks.words_of(chunk)) and not self._halves.are_any:
            self._take_words(text)
        elif choices := chunks.choices_of(chunk, "delta"):
            self._take_choices(choices, event.data)
        elif usage_of(chunk):  # else it is a sign of life, and ends nothing
            before = self._ending.state
            self._ending.take_usage()
            self._wait_on(before, says=False)

    def _takes_plain(self, event: Event, chunk: object) -> bool:
        """Take words in, if there is nothing else in a chunk; nearly all are so."""
        if self._halves.are_any or self._wanted.is_text or event.kind != MESSAGE:
            return False
        if not chunks.is_bare(chunk):
            return False
        if text := chunks.words_of(chunk):
            self._skips.learn(event.data)
            self.model = self.model or model_of(chunk)
            self._take_words(text)
        return bool(text)

    def _skip_strays(self) -> None:
        while self._parser.strays:
            self._skips.skip_line(self._parser.strays.pop())

    def _take_extra(self, extra: Mapping[str, Any]) -> None:
        """Note what is new of it; clients that merge chunks would glue the rest."""
        for name, value in extra.items():
            if self._extra.get(name) != value:
                self._extra[name] = self._untold[name] = value

    def _hand_on(self, delta: Delta) -> None:
        if self._untold:
            delta, self._untold = delta._replace(extra=self._untold), {}
        self._ready.append(delta)

    def _take_words(self, text: str) -> None:
        self._kept.add_text(text)
        self._hand_on(Delta(text))
        says = not is_blank(text)
        self._answered |= says
        if says and self._ending.goes_on(0):
            self._pieces.renew()
        else:
            before = self._ending.state
            self._ending.take(0, None, says=says)
            self._wait_on(before, says=says)

    def _take_choices(self, choices: tuple[chunks.Choice, ...], data: bytes) -> None:
        if not (self._answered or self._thought):
            choices = chunks.as_deltas(choices)
        if self._halves.are_any:
            choices = tuple(self._halves.joined(c, c["index"]) for c in choices)
        choices = tuple(map(self._with_calls, choices))
        delta = chunks.delta_of(choices, as_text=self._wanted.as_text)
        self._kept.add_text(delta.text)
        if delta.choices:
            self._kept.add(data)
        if delta.text or delta.choices:
            self._hand_on(delta)
        self._is_plain = self._is_plain and not delta.choices
        if self._wanted.as_text:
            self._answered |= not is_blank(delta.text)
        before = self._ending.state
        says = [self._take_choice(choice) for choice in choices]
        self._wait_on(before, says=any(says))

    def _take_choice(self, choice: chunks.Choice) -> bool:
        """Take in what one choice says; return whether there are words in it."""
        part, index = chunks.part_of(choice, "delta"), choice["index"]
        answers, thinks = chunks.is_answer(part), chunks.has_any(part, THOUGHTS)
        self._answered |= answers and not self._wanted.as_text
        self._thought |= thinks
        self._is_prose = self._is_prose and chunks.is_prose(part)
        reason = chunks.finish_of(choice)
        self._ending.take(index, reason, says=answers or thinks)
        return answers or thinks

    def _with_calls(self, choice: chunks.Choice) -> chunks.Choice:
        """The choice with its tool calls, if any, numbered and labelled."""
        part = chunks.part_of(choice, "delta")
        if not (part.get("tool_calls") or part.get("function_call")):
            return choice
        calls = self._calls.setdefault(choice["index"], ToolCalls())
        return {**choice, "delta": calls.of_delta(part)}

    def _wait_on(self, before: State, *, says: bool) -> None:
        """Words came: those that follow have the whole time again. Or an end came."""
        state = self._ending.state
        if state is not before or (says and state is State.OPEN):
            self._pieces.renew(QUIET.get(state))
