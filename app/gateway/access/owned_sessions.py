"""OwnedSessions: a handler by which a session belongs to the caller who named it.

Upstreams keep conversations by session id, and know no callers: two who name the same
id would be in one conversation, and whoever learns or guesses an id could go on in
it. So a caller's own ids are a name space of his own (docs/decisions/0027).
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import replace

from app.gateway.access.tokens import ANYBODY, LINK
from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest
from app.gateway.correlation import as_uuid
from app.gateway.handler import ChatHandler, ReplyStream

# The environment's token, or nobody's, is the installation itself: its ids are those
# of the upstreams' own logs. No other caller's can be one of them.
UNCHANGED = frozenset({LINK.name, ANYBODY.name})
PURPOSE = b"session id upstream\0"  # the same key signs the records


class OwnedSessions:
    """A handler that gives upstreams an id made of caller and session.

    Records, answers and callers keep the id that was shown. `key` is the same for all
    workers and after a restart; without one, sessions do not outlive the process.
    Threads may share it.
    """

    def __init__(self, inner: ChatHandler, key: Callable[[], bytes]) -> None:
        self._inner = inner
        self._key = key
        self._stand_in = os.urandom(32)

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask under the caller's own session."""
        if request.caller not in UNCHANGED:
            request = replace(request, session_id=self._owned(request))
        return self._inner.open(request, budget)

    def _owned(self, request: ChatRequest) -> str:
        name = f"{request.caller}\0{request.session_id}"
        key = self._key() or self._stand_in
        text = PURPOSE + name.encode("utf-8", "surrogatepass")
        return as_uuid(hmac.digest(key, text, hashlib.sha256)[:16])
