"""Cached: a handler that answers a repeated question with the answer of before.

Inside the record, so that each answer has a record and ids of its own, and outside of
all that is asked. Streamed and whole answers share one entry (docs/decisions/0054).
"""

import logging
from collections.abc import Callable
from time import monotonic

from app.gateway.budget import Budget, Clock
from app.gateway.chat import ChatReply, ChatRequest, ReplyFacts
from app.gateway.errors import AuditUnavailable, NotCached
from app.gateway.handler import ChatHandler, Outcome, ReplyStream
from app.gateway.kept.canonical import canonical
from app.gateway.kept.chance import is_left_to_chance
from app.gateway.kept.claims import Claims, Holder
from app.gateway.kept.keeping import Found, Keeping, Place
from app.gateway.kept.lifetimes import Lifetimes
from app.gateway.kept.reuse import CACHE, Caching, Reuse

log = logging.getLogger(__name__)

HIT, MISS, JOINED, BYPASS = "hit", "miss", "joined", "bypass"
WHOLE = frozenset({"stop", "tool_calls", "function_call"})  # reasons to finish
LARGEST_QUESTION = 4 * 1024 * 1024  # bytes; a larger one is not likely to come again
# What a twin waits at most of the time it has: else a leader that says a long stream
# would use up the time in which the twin could ask for itself.
PATIENCE = 0.5


class Cached:
    """A handler around another. Threads may share it.

    Of several that ask the same at once one asks, and the others wait for that one. If
    it fails all of them ask, each for itself. `is_fit` says which requests may be
    answered so at all.
    """

    def __init__(
        self,
        inner: ChatHandler,
        keeping: Keeping,
        claims: Claims,
        lifetimes: Lifetimes,
        *,
        is_fit: Callable[[ChatRequest], bool] = lambda _: True,
        clock: Clock = monotonic,
    ) -> None:
        self._inner = inner
        self._keeping, self._claims = keeping, claims
        self._lifetimes = lifetimes
        self._is_fit = is_fit
        self._clock = clock

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Return the answer of before, or ask. Raises NotCached if it must not ask."""
        place = self._place(request)
        if place is None:
            return self._passed_by(request, budget)
        wanted = request.cache_control
        if not wanted.no_cache and (found := self._fresh(place, request)):
            return self._again(found, request, HIT)
        if wanted.only_if_cached:
            raise NotCached
        if (holder := self._claims.claim(place.key, b"")) is not None:
            return self._joined(holder, place, request, budget)
        # The one before may have ended between the look and the claim.
        if not wanted.no_cache and (found := self._fresh(place, request)):
            self._claims.release(place.key)
            return self._again(found, request, HIT)
        return self._asked(request, budget, place, has_claim=True)

    def _place(self, request: ChatRequest) -> Place | None:
        """Where its answer is kept; None if it must not be answered so, or cannot."""
        wanted = request.cache_control
        if not self._lifetimes.of(request.model) or wanted.no_store:
            return None
        if request.size > LARGEST_QUESTION or not self._is_fit(request):
            return None
        if wanted.max_age is None and is_left_to_chance(request.extra):
            return None
        try:
            return self._keeping.place(request.caller, canonical(request))
        except (TypeError, RecursionError):
            return None

    def _passed_by(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        if request.cache_control.only_if_cached:
            raise NotCached
        stream = self._inner.open(request, budget)
        stream.learn(ReplyFacts(caching=Caching(BYPASS)))
        return stream

    def _fresh(self, place: Place, request: ChatRequest) -> Found | None:
        """What is kept and young enough; where nobody can tell, nothing."""
        try:
            found = self._keeping.find(place)
        except AuditUnavailable:
            return None
        if found is None or found.spoken is None:
            return None
        age = self._keeping.now() - found.kept.said_at
        most = request.cache_control.max_age
        is_young = age <= self._lifetimes.of(request.model)
        return found if is_young and (most is None or age <= most) else None

    def _again(self, found: Found, request: ChatRequest, result: str) -> ReplyStream:
        assert found.spoken  # noqa: S101  # see _fresh
        kept, now = found.kept, self._keeping.now()
        reply = found.spoken.reply._replace(
            said=None,
            reuse=Reuse(CACHE, kept.record),
            caching=Caching(
                result, max(0, int(now - kept.said_at)), max(0, int(kept.until - now))
            ),
        )
        return found.spoken.again(reply, is_streamed=request.stream)

    def _joined(
        self, holder: Holder, place: Place, request: ChatRequest, budget: Budget
    ) -> ReplyStream:
        """Wait for the answer of who asks at present; ask if none comes of it."""
        until = self._clock() + budget.remaining() * PATIENCE
        if request.cache_control.no_cache:
            until = 0.0
        while (left := until - self._clock()) > 0:
            if not self._claims.is_held(place.key, holder):
                break
            budget.check()
            self._claims.wait(place.key, min(budget.slice(), left))
        if not request.cache_control.no_cache and (
            found := self._fresh(place, request)
        ):
            return self._again(found, request, JOINED)
        return self._asked(request, budget, place, has_claim=False)

    def _asked(
        self, request: ChatRequest, budget: Budget, place: Place, *, has_claim: bool
    ) -> ReplyStream:
        try:
            stream = self._inner.open(request, budget)
        except BaseException:
            if has_claim:
                self._claims.release(place.key)
            raise
        stream.pieces, begun = [], stream.reply
        stream.learn(ReplyFacts(caching=Caching(MISS)))
        stream.on_end(lambda ended: self._ended(ended, begun, request, place))
        if has_claim:
            stream.on_settled(lambda _: self._claims.release(place.key))
        return stream

    def _ended(
        self, stream: ReplyStream, begun: ChatReply, request: ChatRequest, place: Place
    ) -> None:
        if not is_worth_keeping(stream):
            return
        seconds, is_streamed = self._lifetimes.of(request.model), request.stream
        if self._keeping.keep(
            stream, place, seconds, begun=begun, is_streamed=is_streamed
        ):
            kept = Caching(MISS, ttl=int(seconds), is_stored=True)
            stream.learn(ReplyFacts(caching=kept))


def is_worth_keeping(stream: ReplyStream) -> bool:
    """Whether others may be given this answer: it is whole, and the best there is."""
    reply = stream.reply
    if stream.outcome is not Outcome.COMPLETED:
        return False
    if reply.is_degraded or reply.left_out or _went_on(stream):
        return False
    return all(reason in WHOLE for reason in _reasons(reply))


def _went_on(stream: ReplyStream) -> bool:
    """Whether several upstreams have said parts of it."""
    return any(piece.seam for piece in stream.pieces or ())


def _reasons(reply: ChatReply) -> list[str | None]:
    """Why each of its choices is over."""
    if not reply.choices:
        return [reply.finish_reason]
    return [choice.get("finish_reason") for choice in reply.choices]
