"""The places of those who read the records: few, and shared out by caller."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from flask import g
from flask.typing import ResponseReturnValue

from app.gateway.chain.admission_queue import RefusalReason, State
from app.web.request.context import services

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])


@contextmanager
def reading_stream() -> Iterator[Callable[[], None]]:
    """Hold a place for a stream of what is on record; raises Overloaded at once.

    What is yielded gives the place back: call it when the stream is over. It is given
    back by itself if there comes to be none.
    """
    readers = services().readers
    ticket = readers.enter(g.caller.priority, g.caller.name)
    try:
        if ticket.state is State.WAITING:
            raise readers.refusal(RefusalReason.WAITED)
        readers.make_stream(ticket)
        yield lambda: readers.leave(ticket)
    except BaseException:
        readers.leave(ticket)
        raise


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
