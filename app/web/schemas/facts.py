"""Facts: what is known of a request beside its body."""

from typing import TypedDict

from app.gateway.chat import Priority, StreamMode


class Facts(TypedDict):
    """The facts of a request that no body tells; `size` is the body's, in bytes."""

    session_id: str
    names_session: bool
    correlation_id: str
    caller: str
    mode: StreamMode
    priority: Priority
    size: int
