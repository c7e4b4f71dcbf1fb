"""Continuation: one reply for the caller, made of one or more upstreams' streams.

The one place that knows what to do when a reply breaks after it has begun, for all
kinds of upstream.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from app.gateway.chat import THOUGHTS, Delta, Seam
from app.gateway.errors import (
    CallerFault,
    CallerGone,
    GatewayError,
    Interrupted,
    UpstreamError,
)
from app.gateway.handler import ReplyStream
from app.gateway.routing.failover import Failover
from app.gateway.routing.overlap import Overlap

log = logging.getLogger(__name__)

# Members of a delta that only lead to an answer. Where nothing else was sent, another
# upstream may lead to its own.
PRELUDE = frozenset({"role", *THOUGHTS})


def verified(pursuit: Failover) -> ReplyStream:
    """Return a reply once all of it is in hand; a broken one is begun anew.

    Nothing has reached the reader until then, so that any upstream may start over,
    and a refusal still has its own status. Raises as `Failover.next` does.
    """
    while True:
        stream = pursuit.next()
        deltas = _drained(stream, pursuit)
        if deltas is not None:
            return _told(pursuit, stream, iter(deltas))


def _drained(stream: ReplyStream, pursuit: Failover) -> list[Delta] | None:
    """All deltas of a reply; None if it broke and another upstream may be asked."""
    try:
        deltas = list(stream)
    except GatewayError as error:
        pursuit.over(stream)
        if isinstance(error, CallerFault) or not isinstance(error, UpstreamError):
            error.attempts = tuple(pursuit.attempts)
            raise
        return None
    pursuit.over(stream)
    return deltas


def live(pursuit: Failover) -> ReplyStream:
    """Return a reply once it has begun; each delta is handed on as it comes.

    Where it breaks, the next upstream is asked; if its text begins with exactly what
    was already sent, the rest of it follows. Else the reader gets Interrupted. What
    was thought aloud before the text is nobody's answer and need not be the same.
    Where the pursuit has somebody who can go on with an answer (`Failover.go_on`), only
    those are asked, and are given what was sent: what they say follows, in any words.
    Raises as `Failover.next` does.
    """
    relay = _Continuation(pursuit)
    return _told(pursuit, relay.stream, relay, relay)


def _told(
    pursuit: Failover,
    stream: ReplyStream,
    deltas: Iterator[Delta],
    relay: "_Continuation | None" = None,
) -> ReplyStream:
    """The stream for the reader; of a live one nothing has been said yet."""
    reply = pursuit.told(stream.reply)
    if relay:
        reply = reply._replace(text="")
    relayed = ReplyStream(deltas, reply, relay.close if relay else None)
    relayed.received, relayed.status = stream.received, stream.status
    if relay:
        relayed.on_end(relay.report)
    return relayed


class _Continuation(Iterator[Delta]):
    """The deltas of a live reply. It belongs to one thread."""

    def __init__(self, pursuit: Failover) -> None:
        self._pursuit = pursuit
        self.stream = pursuit.next()
        self._is_noted = False  # whether the pursuit knows how that one ended
        self._sent: list[str] = []
        self._is_plain = True  # nothing but text and thoughts was sent
        self._awaited = ""  # was sent, and the present upstream has yet to say it
        self._overlap: Overlap | None = None  # the present one may repeat what was sent
        self._is_seam = False  # the next delta is the first of one that goes on
        self._kept: Delta | None = None  # comes after what was held back
        self._broke_with: UpstreamError | None = None

    def __next__(self) -> Delta:
        while True:
            delta = self._next_delta()
            if self._awaited:
                delta = self._beyond(delta)
            elif self._overlap:
                delta = self._without_overlap(delta, self._overlap)
            if delta.text or delta.choices:
                if self._is_seam:
                    delta = self._marked(delta)
                self._sent.append(delta.text)
                self._is_plain = self._is_plain and not _is_more(delta)
                return delta

    @property
    def is_ready(self) -> bool:
        """Whether the next delta is in hand; see ReplyStream."""
        return self.stream.is_ready

    def _next_delta(self) -> Delta:
        if self._kept:
            kept, self._kept = self._kept, None
            return kept
        while True:
            try:
                return next(self.stream)
            except StopIteration:
                if self._awaited:
                    raise self._diverged() from None
                if held := self._let_go():
                    return Delta(held)
                raise
            except UpstreamError as error:
                self._resume(error)

    def _beyond(self, delta: Delta) -> Delta:
        """What a delta adds to what was already sent; its text may be empty."""
        text, awaited = delta.text, self._awaited
        common = min(len(text), len(awaited))
        if _is_more(delta) or text[:common] != awaited[:common]:
            raise self._diverged()
        self._awaited = awaited[common:]
        return Delta(text[common:])

    def _without_overlap(self, delta: Delta, overlap: Overlap) -> Delta:
        """What a delta of one that goes on adds; its text may be empty."""
        if not _is_more(delta):
            return Delta(overlap.beyond(delta.text))
        if held := self._let_go():
            self._kept = delta
            return Delta(held)
        return delta

    def _let_go(self) -> str:
        """What was held back as a repetition, and is none since no more of it comes."""
        overlap, self._overlap = self._overlap, None
        return overlap.rest() if overlap else ""

    def _marked(self, delta: Delta) -> Delta:
        self._is_seam = False
        character = sum(map(len, self._sent))
        return delta._replace(seam=Seam(self.stream.reply.upstream, character))

    def _diverged(self) -> Interrupted:
        """Give up on an upstream that does not say what was already sent."""
        self._note("diverged")
        return self._interrupted()

    def _resume(self, error: UpstreamError) -> None:
        """Have the next upstream go on, or raise what the reader is told."""
        self._broke_with = error
        self._note()
        if isinstance(error, CallerFault):
            raise error
        if not self._is_plain:
            raise self._interrupted() from None
        self._pursuit.renew()
        text, self._overlap = "".join(self._sent), None
        overlap = Overlap(text)
        goes_on = bool(text) and self._pursuit.go_on(text, overlap.prefill)
        try:
            self.stream = self._pursuit.next()
        except CallerGone:
            raise
        except GatewayError:
            raise self._interrupted() from None
        self._is_noted = False
        self._is_seam = goes_on
        self._awaited, self._overlap = ("", overlap) if goes_on else (text, None)
        log.warning("Reply broke (%s), asking %s", error, self.stream.reply.upstream)

    def _interrupted(self) -> Interrupted:
        """Why the reply broke in the first place, not why nobody could go on."""
        fault = self._broke_with.fault if self._broke_with else "truncated"
        error = Interrupted(fault, status=self.stream.status)
        error.received = self.stream.received
        return error

    def _note(self, fault: str | None = None) -> None:
        if not self._is_noted:
            self._is_noted = True
            self._pursuit.over(self.stream, fault)

    def report(self, relayed: ReplyStream) -> None:
        """Tell at the reply's ending what is known only then."""
        self._note()
        relayed.received, relayed.status = self.stream.received, self.stream.status
        relayed.learn(self._pursuit.facts(self.stream.reply))

    def close(self) -> None:
        """End the upstream's reply too; its connection closes at once."""
        self.stream.close()


def _is_more(delta: Delta) -> bool:
    """Whether it holds more than text and what leads to it: a tool call, a refusal."""
    return bool(delta.choices) and (bool(delta.text) or any(map(_says, delta.choices)))


def _says(choice: Mapping[str, Any]) -> bool:
    part = choice.get("delta") or {}
    return any(value for name, value in part.items() if name not in PRELUDE)
