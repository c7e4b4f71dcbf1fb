"""Keeping: finds, opens, seals and says again; what cache and keys have in common."""

import hmac
import logging
from collections.abc import Callable
from hashlib import sha256
from time import time
from typing import NamedTuple

from app.gateway.chat import ChatReply, ReplyFacts
from app.gateway.handler import Outcome, ReplyStream
from app.gateway.kept.answers import MOST_KEPT, OWNER, Answers, Kept, Sealing
from app.gateway.kept.spoken import Spoken

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where an answer is kept, the mark of its request, and what opens it."""

    key: bytes
    mark: bytes
    secret: bytes


class Found(NamedTuple):
    """What was found in a place: the kept answer, and its words if they are there."""

    kept: Kept
    spoken: Spoken | None


class Keeping:
    """The way to the kept answers for one purpose, which its digests begin with.

    `key` returns the installation's secret, b"" while there is none. Threads may share
    it. `wall` is a clock of Unix time.
    """

    def __init__(
        self,
        purpose: str,
        answers: Answers,
        sealing: Sealing,
        key: Callable[[], bytes],
        wall: Callable[[], float] = time,
    ) -> None:
        self.now = wall
        self._purpose = purpose
        self._answers, self._sealing, self._key = answers, sealing, key

    def place(self, caller: str, scope: bytes, question: bytes = b"") -> Place | None:
        """Find the place of a caller's scope; None while there is no secret.

        Its secret follows from the installation's and from the scope, which is stored
        nowhere: who has not asked the same cannot read the answer.
        """
        key = self._key()
        if not key:
            return None
        scope = sha256(scope).digest()
        mark = self._digest(key, "question", sha256(question).digest())
        owner = hmac.digest(key, b"owner 1\n" + caller.encode(), "sha256")[:OWNER]
        return Place(
            owner + self._digest(key, "place", scope)[OWNER:],
            mark if question else b"",
            self._digest(key, "secret", scope),
        )

    def find(self, place: Place) -> Found | None:
        """Return what is kept in a place. Raises AuditUnavailable."""
        kept = self._answers.find(place.key, self.now())
        if kept is None:
            return None
        return Found(kept, self._opened(place, kept))

    def keep(
        self,
        stream: ReplyStream,
        place: Place,
        seconds: float,
        *,
        begun: ChatReply,
        is_streamed: bool,
        with_words: bool = True,
    ) -> bool:
        """Have an answer kept once its record is committed; return whether it will be.

        `begun` is what was known of it when it began. Without `with_words`, and of one
        that is too large, only that there was one.
        """
        reply, now = stream.reply, self.now()
        kept = Kept(place.key, place.mark, reply.audit_id, now, now + seconds, None)
        if with_words:
            pieces = tuple(stream.pieces or ())
            spoken = Spoken(reply, pieces, is_streamed, begun.model, begun.usage)
            kept = kept._replace(body=self._sealed(place, kept, spoken))
        if kept.body is None and not place.mark:
            return False
        if self._answers.has_records:
            stream.learn(ReplyFacts(kept=(*reply.kept, kept)))
        else:
            stream.on_settled(lambda settled: self._put(settled, kept))
        return True

    def _put(self, stream: ReplyStream, kept: Kept) -> None:
        if stream.outcome is Outcome.COMPLETED and stream.veto is None:
            self._answers.put(kept)

    def _sealed(self, place: Place, kept: Kept, spoken: Spoken) -> bytes | None:
        try:
            words = spoken.to_bytes()
        except (TypeError, ValueError, RecursionError):
            log.exception("An answer cannot be kept")
            return None
        if len(words) > MOST_KEPT:
            return None
        return self._sealing.seal(place.secret, words, _about(kept))

    def _opened(self, place: Place, kept: Kept) -> Spoken | None:
        if kept.body is None:
            return None
        words = self._sealing.open(place.secret, kept.body, _about(kept))
        if words is None:
            log.error("A kept answer cannot be opened: it was changed")
            return None
        return Spoken.of_bytes(words)

    def _digest(self, key: bytes, what: str, scope: bytes) -> bytes:
        text = f"{self._purpose} {what} 1\n".encode() + scope
        return hmac.digest(key, text, "sha256")


def _about(kept: Kept) -> bytes:
    """What cannot be changed beside the sealed words: no answer lasts longer so."""
    facts = f"{kept.record} {kept.said_at!a} {kept.until!a}"
    return kept.key + kept.mark + facts.encode()
