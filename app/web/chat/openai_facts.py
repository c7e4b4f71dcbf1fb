"""What OpenAI's doors know of a request beside its body: who asks, in which session.

`/v1` has several doors for the same clients, who name their session in the same way.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from flask import g

from app.gateway import correlation
from app.gateway.chat import NOTHING
from app.web.chat.chat_headers import stream_mode
from app.web.request.caller import priority_of
from app.web.request.context import services, this_request
from app.web.schemas.facts import Facts

SESSION = "X-Session-Id"
_SESSION_ID = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


def facts(metadata: Mapping[str, Any] | None, user: str | None, size: int) -> Facts:
    """The facts of this request; a body's metadata and user may name the session."""
    return {
        "session_id": _session_id(metadata or NOTHING, user),
        "correlation_id": correlation.current.get(),
        "caller": g.caller.name,
        "mode": stream_mode(),
        "priority": priority_of(this_request(), g.caller),
        "size": size,
    }


def _session_id(metadata: Mapping[str, Any], user: str | None) -> str:
    """The first usable one of header, metadata and user; else a new UUID4."""
    header = this_request().headers.get(SESSION)
    shown = (header, metadata.get("session_id"), user)
    return next((s for s in shown if _is_usable(s)), None) or correlation.new_id()


def _is_usable(session_id: object) -> TypeGuard[str]:
    if not (isinstance(session_id, str) and _SESSION_ID.fullmatch(session_id)):
        return False
    return not services().holds_secret(session_id)
