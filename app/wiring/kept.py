"""Kept answers: the two handlers that say answers again, made of the settings."""

from collections.abc import Callable

from app.gateway.chain.cached import Cached
from app.gateway.chain.idempotent import Idempotent
from app.gateway.chat import ChatRequest
from app.gateway.handler import ChatHandler
from app.gateway.kept.answers import Answers
from app.gateway.kept.claims import Claims
from app.gateway.kept.keeping import Keeping
from app.gateway.kept.lifetimes import Lifetimes
from app.gateway.records.content import Content
from app.gateway.replay.origin import REPLAY
from app.settings import Settings
from app.storage.kept.memory import MemoryAnswers
from app.storage.kept.sealing import AnswerSealing


class KeptAnswers:
    """What one process keeps, and finds again; the handlers stand around another one.

    `stored` are the answers that lie with the records. Where the settings let no words
    go to disk the cache is in memory, and of keys only their records are known.
    """

    def __init__(
        self,
        settings: Settings,
        stored: Answers,
        claims: Claims,
        key: Callable[[], bytes],
    ) -> None:
        self._settings, self._key = settings, key
        self._stored, self._sealing = stored, AnswerSealing()
        self._has_words = Content(settings.audit_content) is Content.FULL
        self._in_memory = stored if self._has_words else MemoryAnswers()
        self._claims = claims

    def around(self, inner: ChatHandler) -> ChatHandler:
        """Put those around a handler that the settings want: Idempotent(Cached(it))."""
        lifetimes = _lifetimes(self._settings)
        if lifetimes:
            keeping = Keeping("cache", self._in_memory, self._sealing, self._key)
            inner = Cached(inner, keeping, self._claims, lifetimes, is_fit=_is_fit)
        if not self._settings.idempotency_ttl:
            return inner
        return Idempotent(
            inner,
            Keeping("idempotency", self._stored, self._sealing, self._key),
            self._claims,
            self._settings.idempotency_ttl,
            with_words=self._has_words,
        )

    def size(self) -> int | None:
        """Bytes of all that is kept, None while that is not known."""
        return self._in_memory.size()

    def close(self) -> None:
        """Let go of everything."""
        self._claims.close()
        self._stored.close()
        self._in_memory.close()


def _is_fit(request: ChatRequest) -> bool:
    """Whether a cached answer is one: a replay asks what an upstream says by now."""
    return request.route != REPLAY


def _lifetimes(settings: Settings) -> Lifetimes:
    return Lifetimes(
        settings.cache_ttl,
        [(route.model, route.cache) for route in settings.routes],
        [upstream.name for upstream in settings.effective_upstreams()],
    )
