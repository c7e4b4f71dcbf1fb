"""The places of those who read the records: few, and shared out by caller."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import g
from flask.typing import ResponseReturnValue

from app.gateway.chain.admission_queue import RefusalReason, State
from app.web.request.context import services

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])


def takes_a_place(view: View) -> View:
    """Guard a view that reads records: it waits for a place, or raises Overloaded.

    A search may take seconds and holds a thread, which chats would miss.
    """

    @wraps(view)
    def placed(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        readers = services().readers
        ticket = readers.enter(g.caller.priority, g.caller.name)
        try:
            if ticket.called is not None:
                ticket.called.wait(readers.limits.wait)
            if ticket.state is State.WAITING:
                raise readers.refusal(RefusalReason.WAITED)
            if ticket.state is State.EVICTED:
                raise readers.refusal(RefusalReason.EVICTED)
            return view(*args, **kwargs)
        finally:
            readers.leave(ticket)

    return placed  # type: ignore[return-value]
