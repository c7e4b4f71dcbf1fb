"""Door: what all doors do with a request, from its body to its answer.

A door only reads and words (`Door`). Budget, slot, record, deadline and limits are the
same behind each of them, since there is no other way to the core than `answer`.
"""

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from flask import Response

from app.gateway.chat import ChatReply, ChatRequest
from app.web.chat.chat_headers import counted, log_answer, of_all, of_some, seat
from app.web.chat.kept import with_wishes
from app.web.chat.sse import Dialect, stream_answer
from app.web.request.body import read_plain
from app.web.request.caller import budget_of, priority_of, waited
from app.web.request.context import notes, services, this_request
from app.web.request.errors import error_response
from app.web.request.person import on_behalf
from app.web.request.values import MOST_VALUES

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Door(Protocol):
    """How one door reads its requests and words its answers; one for each request.

    `started` is when the front door took the request, on the monotonic clock. A body
    may hold `most_values`. `user` is whom it names as the person behind the caller.
    """

    started: float
    most_values: int = MOST_VALUES
    user: str | None = None

    def __init__(self) -> None:
        self.started = monotonic() - waited(this_request())

    def read(self, data: bytes) -> ChatRequest:
        """Make the core's value of a body; raises InvalidBody for a bad one."""
        ...

    def whole(self, reply: ChatReply) -> str | bytes:
        """The answer as JSON."""
        ...

    def headers(self, reply: ChatReply) -> dict[str, str]:  # noqa: ARG002  # for others
        """What an answer's headers say beside who answered."""
        return {}

    def events(self) -> Dialect:
        """The wording of a streamed answer."""
        ...


class WholeAnswer(Response):
    """The answer to a chat, in one piece of JSON; `facts` are headers of ours.

    Those are sent as they are: Werkzeug's headers cost more than the answer itself.
    """

    default_mimetype = None

    def __init__(self, body: str | bytes, facts: list[tuple[str, str]]) -> None:
        super().__init__()
        self._body = body.encode() if isinstance(body, str) else body
        self._facts = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self._body))),
            *facts,
        ]

    def __call__(
        self,
        environ: "WSGIEnvironment",  # noqa: ARG002  # all is said already
        start_response: "StartResponse",
    ) -> Iterable[bytes]:
        """Send it."""
        start_response(self.status, [*self._facts, *self.headers])
        return [self._body]


def answer(door: Door) -> Response:
    """Answer the request that came in by a door, by its deadline and on record."""
    request, ours, here = this_request(), services(), notes()
    budget = budget_of(request, ours.deadline, ours.drain)
    data = read_plain(request, ours.max_body, door.most_values)
    with seat(budget, priority_of(request, here.caller)) as place:
        with place.reading(len(data), budget):
            asked = with_wishes(on_behalf(door.read(data), door.user))
        del data  # nobody needs it while an upstream works
        here.is_on_record = True
        if asked.stream:
            return stream_answer(place, asked, budget, door.events())
        stream = place.open(asked, budget)
    reply = stream.collect()
    log_answer(reply, monotonic() - door.started)
    response = WholeAnswer(door.whole(reply), of_all(reply))
    if more := {**of_some(reply), **counted(reply), **door.headers(reply)}:
        response.headers.update(more)
    return response


def answer_if_served(door: Door, task: str) -> Response:
    """The same for a door that is there only if some upstream serves the task."""
    if task in services().tasks:
        return answer(door)
    return error_response(404, "not_found", f"no upstream is declared to serve {task}")
