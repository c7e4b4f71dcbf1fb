"""Idempotent: a handler by which a request that is sent again is answered once.

A caller that shows an Idempotency-Key gets one answer for it, however often it asks
(draft-ietf-httpapi-idempotency-key-header-07). The work outlives its caller, since the
next request with the key will want its answer; a failure is no answer, so after one the
next request asks anew (docs/decisions/0056).
"""

from time import monotonic

from app.gateway.budget import Budget, Clock
from app.gateway.chat import ChatReply, ChatRequest, ReplyFacts
from app.gateway.errors import (
    AnswerNotKept,
    CallerGone,
    KeyInFlight,
    KeyReused,
    NoAnswer,
)
from app.gateway.handler import ChatHandler, Outcome, ReplyStream
from app.gateway.kept.canonical import canonical
from app.gateway.kept.claims import Claims, Holder
from app.gateway.kept.keeping import Found, Keeping, Place
from app.gateway.kept.reuse import IDEMPOTENCY, Reuse, Said

RETRY_AFTER = 1.0  # seconds


class Idempotent:
    """A handler around another, for requests with a key. Threads may share it.

    Answers are kept for so many `seconds`; without `with_words` only that there was
    one is kept. Raises KeyReused for a key of another request, KeyInFlight where the
    first one is not over by the deadline, and AnswerNotKept.
    """

    def __init__(
        self,
        inner: ChatHandler,
        keeping: Keeping,
        claims: Claims,
        seconds: float,
        *,
        with_words: bool = True,
        clock: Clock = monotonic,
    ) -> None:
        self._inner = inner
        self._keeping, self._claims = keeping, claims
        self._seconds, self._with_words = seconds, with_words
        self._clock = clock

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Return the answer that the key was given, or ask for it."""
        if not request.idempotency_key:
            return self._inner.open(request, budget)
        place = self._keeping.place(request.caller, _scope(request), canonical(request))
        if place is None:  # there is no secret, and so no record to keep it with
            return self._inner.open(request, budget)
        while True:
            if found := self._keeping.find(place):
                return self._again(found, place, request)
            holder = self._claims.claim(place.key, place.mark)
            if holder is None:
                return self._asked_once(place, request, budget)
            if holder.mark != place.mark:
                raise KeyReused
            self._await(holder, place, budget)

    def _again(self, found: Found, place: Place, request: ChatRequest) -> ReplyStream:
        kept, spoken = found
        if kept.mark != place.mark:
            raise KeyReused
        if spoken is None:
            raise AnswerNotKept(kept.record)
        reply = spoken.reply._replace(reuse=Reuse(IDEMPOTENCY, kept.record))
        return spoken.again(reply, is_streamed=request.stream)

    def _await(self, holder: Holder, place: Place, budget: Budget) -> None:
        """Wait until the request that came first is over, by the deadline of this."""
        try:
            while self._claims.is_held(place.key, holder):
                budget.check()
                self._claims.wait(place.key, budget.slice())
        except NoAnswer:
            raise KeyInFlight(retry_after=RETRY_AFTER) from None

    def _asked_once(
        self, place: Place, request: ChatRequest, budget: Budget
    ) -> ReplyStream:
        """Ask, with the claim in hand, unless an answer came just before the claim."""
        try:
            if found := self._keeping.find(place):
                stream = self._again(found, place, request)
                self._claims.release(place.key)
                return stream
            return self._asked(place, request, budget)
        except BaseException:
            self._claims.release(place.key)
            raise

    def _asked(self, place: Place, request: ChatRequest, budget: Budget) -> ReplyStream:
        opened, began = self._clock(), self._keeping.now()
        has_left: list[bool] = []
        deaf = budget.deaf_to(CallerGone, lambda: has_left.append(True))
        stream = self._inner.open(request, deaf)
        said = Said(
            audit_id="",
            correlation_id=request.correlation_id,
            session_id=request.session_id,
            began=began,
            ended=began,
            queued=opened - budget.since,
            first=self._clock() - budget.since,
            total=0.0,
        )
        stream.outlives_caller = True
        stream.was_left = bool(has_left)
        if stream.pieces is None:
            stream.pieces = []
        begun = stream.reply
        stream.learn(ReplyFacts(said=said))
        stream.on_end(
            lambda ended: self._ended(ended, begun, place, request, budget, has_left)
        )
        stream.on_settled(lambda _: self._claims.release(place.key))
        return stream

    def _ended(
        self,
        stream: ReplyStream,
        begun: ChatReply,
        place: Place,
        request: ChatRequest,
        budget: Budget,
        has_left: list[bool],
    ) -> None:
        """Have a whole answer kept, with how it was said."""
        stream.was_left |= bool(has_left)
        reply = stream.reply
        if stream.outcome is not Outcome.COMPLETED or reply.said is None:
            return
        said = reply.said._replace(
            audit_id=reply.audit_id,
            ended=self._keeping.now(),
            total=self._clock() - budget.since,
            attempts=reply.attempts,
        )
        stream.learn(ReplyFacts(said=said))
        self._keeping.keep(
            stream,
            place,
            self._seconds,
            begun=begun,
            is_streamed=request.stream,
            with_words=self._with_words,
        )


def _scope(request: ChatRequest) -> bytes:
    """To whom a key belongs: of two callers who choose the same each has their own."""
    who = request.caller, request.person or "", request.route
    told = (*who, str(request.person is None), request.idempotency_key)
    # With their lengths, so that none can pass for the end of the one before.
    return f"{[*map(len, told)]}{''.join(told)}".encode("utf-8", "surrogatepass")
