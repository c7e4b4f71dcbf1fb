"""Bound sessions: upstreams know a session by a name that no other caller can choose.

An upstream that remembers conversations finds them by the id of the session alone. So
two callers who happen, or try, to name the same one would share what was said. What
goes upstream is a digest of caller, person and session; records and answers have the
name that the caller gave.
"""

import hmac
from collections.abc import Callable

from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest
from app.gateway.correlation import as_uuid
from app.gateway.handler import ChatHandler, ReplyStream
from app.gateway.strict_json import plain_encoder

# Nothing else that the key signs begins so.
_PURPOSE = b"session 1\n"
_to_json = plain_encoder()


class BoundSessions:
    """A handler that binds each session to its caller. Threads may share it.

    `key` returns the secret of the digests, which all workers have in common.
    """

    def __init__(self, inner: ChatHandler, key: Callable[[], bytes]) -> None:
        self._inner = inner
        self._key = key

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask under the bound name; see `ChatHandler.open`."""
        bound = request._replace(session_id=self._bound(request))
        return self._inner.open(bound, budget)

    def _bound(self, request: ChatRequest) -> str:
        """A UUID of names (version 5, but by SHA-256): upstreams may expect a UUID."""
        who = _to_json([request.caller, request.person, request.session_id])
        digest = hmac.digest(self._key(), _PURPOSE + who.encode(), "sha256")
        return as_uuid(digest[:16], version=5)
