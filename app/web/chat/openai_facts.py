"""What OpenAI's doors know of a request beside its body: who asks, in which session.

`/v1` has several doors for the same clients, who name their session in the same way.
"""

from collections.abc import Mapping
from typing import Any

from app.gateway import correlation
from app.gateway.chat import NOTHING
from app.web.chat.chat_headers import stream_mode
from app.web.request.caller import priority_of
from app.web.request.context import environ_key, notes, this_request
from app.web.request.person import is_name, session_in_headers
from app.web.schemas.facts import Facts

SESSION = "X-Session-Id"
_SESSION = environ_key(SESSION)


def facts(metadata: Mapping[str, Any] | None, user: str | None, size: int) -> Facts:
    """The facts of this request; a body's metadata and user may name the session."""
    session, caller = _session_id(metadata or NOTHING, user), notes().caller
    return {
        "session_id": session or correlation.new_id(),
        "names_session": session is not None,
        "correlation_id": correlation.current.get(),
        "caller": caller.name,
        "mode": stream_mode(),
        "priority": priority_of(this_request(), caller),
        "size": size,
    }


def _session_id(metadata: Mapping[str, Any], user: str | None) -> str | None:
    """The first usable one of header, metadata and user; None for none."""
    header = this_request().environ.get(_SESSION)
    shown = (session_in_headers(), header, metadata.get("session_id"), user)
    names = (name for name in shown if isinstance(name, str) and is_name(name))
    return next(names, None)
