"""The verb and its ending: `ChatHandler.open` and `ReplyStream`.

An upstream is a handler, the router is a handler made of handlers, and every
policy is a handler around a handler. What must happen when a reply is over hangs
on the stream's ending, innermost policy first.
"""

import logging
from collections.abc import Callable, Iterator
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from app.gateway.budget import Budget
from app.gateway.chat import ChatReply, ChatRequest, Delta, ReplyFacts
from app.gateway.errors import BadReply, CallerGone, GatewayError
from app.gateway.records.merge_choices import ChoiceMerger
from app.gateway.replay.timeline import Timeline
from app.gateway.replies import as_deltas, as_whole

log = logging.getLogger(__name__)


class Outcome(Enum):
    """The three ways in which a reply ends."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ReplyStream(Iterator[Delta]):
    """A reply that has begun: an iterator of deltas that ends exactly once.

    It belongs to one thread. `reply` is what is known of it so far; `outcome` and
    `error` are set at the ending, before the observers are called. Observers run
    in the order in which they were added, unless one asks to be first. One that breaks
    is logged and does no harm, unless it was added with `may_veto`: what that one
    raises, whatever it is, is raised to the reader after all have run, and the reply
    must then not be delivered as complete. `veto` tells the observers that come later.
    Those of `on_settled` come last of all, when nothing can veto any more.
    """

    def __init__(
        self,
        deltas: Iterator[Delta],
        reply: ChatReply,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._deltas = deltas
        self._close_source = close
        self._texts: list[str] = []
        self._observers: list[tuple[Observer, bool]] = []
        self._reply = reply
        self._facts = ReplyFacts()  # not yet put into the reply
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.veto: Exception | None = None
        # What came in deltas that were not just text.
        self.said: ChoiceMerger | None = None
        self.received = 0  # body bytes that came from the upstream
        self.status: int | None = None  # the upstream's HTTP status
        self.unread = 0.0  # seconds for which the reader did not ask for more
        self.timeline: Timeline | None = None  # kept where somebody asks for it
        self.pieces: list[Delta] | None = None  # all of them, where that was asked for
        self.is_repeated = False  # it was said before, so nobody works on it
        self.outlives_caller = False  # it is to be read to its end in any case
        self.was_left = False  # by its caller, who is not told its end
        self._settled: list[Observer] = []

    @classmethod
    def whole(cls, reply: ChatReply, *, is_streamed: bool = False) -> Self:
        """Wrap a reply that is already complete as a stream of one delta.

        With `is_streamed` its choices are in that delta, for a caller who asked for a
        stream.
        """
        if is_streamed and reply.choices:
            reply, deltas = as_deltas(reply)
            return cls(iter(deltas), reply)
        return cls(iter((Delta(reply.text),)), reply)

    @property
    def reply(self) -> ChatReply:
        """What is known of the reply; its text is whole once it has ended."""
        if self._facts:
            self._reply = self._reply.with_facts(self._facts)
            self._facts = ReplyFacts()
        return self._reply

    def on_end(
        self, observer: "Observer", *, may_veto: bool = False, first: bool = False
    ) -> None:
        """Call the observer once, when the reply is over, however it ends.

        With `may_veto` its failure keeps the reply from being delivered. `first` is
        called before all that were added so far.
        """
        at = 0 if first else len(self._observers)
        self._observers.insert(at, (observer, may_veto))

    def on_settled(self, observer: "Observer") -> None:
        """Call the observer once, when the reply's record is committed or vetoed."""
        self._settled.append(observer)

    def learn(self, facts: ReplyFacts) -> None:
        """Add facts about the reply that became known; of two, the later one counts."""
        self._facts.update(facts)  # several handlers do, and a copy has its price

    def __next__(self) -> Delta:
        try:
            delta = next(self._deltas)
        except StopIteration:
            self._end_or_veto(Outcome.COMPLETED)
            raise
        except CallerGone as gone:
            self._end_or_veto(Outcome.CANCELLED, gone)
            raise
        except GatewayError as error:
            self._end_or_veto(Outcome.FAILED, error)
            raise
        except Exception:
            # Whatever else escapes from an adapter is a failed attempt.
            log.exception("A reply broke in a way that nobody foresaw")
            failed = BadReply("internal")
            self._end_or_veto(Outcome.FAILED, failed)
            raise failed from None
        self._texts.append(delta.text)
        if self.timeline is not None:
            self.timeline.mark()
        if delta.choices:
            self.said = self.said or ChoiceMerger()
            self.said.add(delta.choices)
        if self.pieces is not None:
            self.pieces.append(delta)
        return delta

    @property
    def is_ready(self) -> bool:
        """Whether the next delta is known to be in hand; waits for nothing.

        A reader that has fallen behind may take several deltas at once.
        """
        return bool(getattr(self._deltas, "is_ready", False))

    def collect(self) -> ChatReply:
        """Read to the end and return the whole reply, or raise what broke it."""
        with self:
            deltas = list(self)
        return as_whole(self.reply, deltas)

    def close(self) -> None:
        """End the reply now. One that was not over counts as cancelled."""
        self._end(Outcome.CANCELLED)  # nobody is left to hear a veto

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _end_or_veto(
        self, outcome: Outcome, error: BaseException | None = None
    ) -> None:
        self._end(outcome, error)
        if self.veto is not None:
            raise self.veto

    def _end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        if self.outcome is not None:
            return
        self.outcome, self.error = outcome, error
        if self.timeline is not None:
            self.timeline.over(self._texts)
        text = "".join(self._texts)
        self._texts = [text]  # long ones are in memory once
        if text != self._reply.text:
            self.learn(ReplyFacts(text=text))
        if close := self._close_source:
            self._tell(lambda _: close())
        for observer, may_veto in self._observers:
            self._tell(observer, may_veto)
        for observer in self._settled:
            self._tell(observer)

    def _tell(self, observer: "Observer", may_veto: bool = False) -> None:
        try:
            observer(self)
        except Exception as error:
            if may_veto:
                self.veto = self.veto or error
            else:
                log.exception("An observer of a reply's ending broke")


Observer = Callable[[ReplyStream], None]


class ChatHandler(Protocol):
    """The port of all that answers a chat: an upstream, the router, a policy."""

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Return once the reply has begun (its first delta is in hand).

        Raises a GatewayError if it never began; before that moment the next
        upstream may be tried. Threads may call it at the same time.
        """
        ...
