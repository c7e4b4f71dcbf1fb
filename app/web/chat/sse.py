"""Server-sent events: a reply that is written to its caller as it comes in.

The request's own thread writes all of a stream, by the `write` that PEP 3333 gives
to an application, while it reads the upstream. A budget's check runs in that very
thread in the middle of every wait, so it can send a heartbeat there: no second
thread for each stream, no queue, and nothing to cancel across threads
(docs/decisions/0005).
"""

import errno
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from json.encoder import encode_basestring_ascii as encode_text
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from flask import Flask, Response, request

from app.gateway import strict_json
from app.gateway.budget import Budget, Clock
from app.gateway.chain.admission import Place
from app.gateway.chat import ChatReply, ChatRequest, Delta, Seam, StreamMode
from app.gateway.errors import CallerGone
from app.gateway.handler import ReplyStream
from app.web.chat.chat_headers import who_answers
from app.web.request.caller import may_send, stream_seconds
from app.web.request.caller_error import CallerError
from app.web.request.context import notes, services
from app.web.request.errors import report

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

HEARTBEAT = 1.5  # seconds; checks come every 0.25 s, and 2 s are promised
SEND_LIMIT = 5.0  # seconds for an event to be read (docs/faults.md, row 42)
LAST_WORD = 0.2  # seconds for the last event when the deadline has passed

HELD = 16384  # bytes of events that may travel together

COMMENT = b":\n\n"


_encode = strict_json.encoder(separators=(",", ":"), default=str)


def event(data: Any, name: str | None = None) -> bytes:
    """Frame a JSON value as one event; nothing inside it can end the event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {_encode(data)}\n\n".encode("ascii")


class TextEvents:
    """Makes events that differ in one text only, twenty times as fast.

    `data` holds `TextEvents.HERE` where the text is to be.
    """

    HERE = "\ue000here\ue000"

    def __init__(self, data: Any, name: str | None = None) -> None:
        whole = event(data, name).decode("ascii")
        self._before, _, self._after = whole.partition(encode_text(self.HERE))

    def __call__(self, text: str) -> bytes:
        return f"{self._before}{encode_text(text)}{self._after}".encode("ascii")


class Dialect(Protocol):
    """How one door words the events of a reply; one for each stream.

    One that has a `heartbeat` sends that where nothing comes, in place of a comment.
    """

    def opening(self, reply: ChatReply) -> bytes:
        """What is sent once the reply has begun; may be empty, as all may."""
        ...

    def delta(self, delta: Delta, reply: ChatReply) -> bytes:
        """One piece of the reply."""
        ...

    def done(self, reply: ChatReply) -> bytes | Iterator[bytes]:
        """The end of a reply that is complete and on record.

        A long one comes in pieces, each made when the one before is sent.
        """
        ...

    def error(self, report: CallerError) -> bytes:
        """The end of one that is not."""
        ...


class Channel:
    """The caller's connection, from the moment when the head of the answer is sent.

    Raises CallerGone where an event cannot be written, unless the reply is to be read
    to its end all the same (`outliving`). It belongs to one thread.
    """

    def __init__(
        self,
        budget: Budget,
        connection: socket.socket | None = None,
        clock: Clock = monotonic,
        heartbeat: bytes = COMMENT,
    ) -> None:
        self._budget = budget
        self._heartbeat = heartbeat
        self._connection = connection
        self._clock = clock
        self._write: Callable[[bytes], object] | None = None
        self._sent_at = self._limit = 0.0
        self.is_broken = False
        self.outliving: ReplyStream | None = None

    def open(self, write: Callable[[bytes], object]) -> None:
        """Send events by this from now on."""
        self._write = write
        self._sent_at = self._clock()

    def beat(self) -> None:
        """Send a heartbeat if nothing was sent for a while: a check of the budget.

        It comes in the middle of other waits, so it never waits itself: a caller who
        has yet to read what was sent before needs none.
        """
        if self._write is None or self._clock() - self._sent_at < HEARTBEAT:
            return
        if self._connection is None or may_send(self._connection):
            self.send(self._heartbeat)

    def send(self, data: bytes) -> None:
        """Send an event, all of it or nothing more ever."""
        if not data or self._write is None:
            return
        if not self.is_broken:
            self._bound_the_wait()
            try:
                self._write(data)
            except OSError:
                self.is_broken = True
        self._sent_at = self._clock()
        if self.is_broken:
            self._say_so()

    def _say_so(self) -> None:
        if self.outliving is None:
            raise CallerGone
        self.outliving.was_left = True

    def _bound_the_wait(self) -> None:
        limit = min(SEND_LIMIT, max(LAST_WORD, self._budget.stream_remaining()))
        if limit != self._limit and self._connection is not None:
            self._limit = limit
            self._connection.settimeout(limit)  # which costs a system call


class EventStream(Response):
    """A response that writes itself while its reply comes in."""

    automatically_set_content_length = False

    def __init__(self, stream: ReplyStream, channel: Channel, dialect: Dialect) -> None:
        super().__init__(mimetype="text/event-stream")
        self.headers["X-Accel-Buffering"] = "no"  # nginx hands on each event at once
        self._stream = stream
        self._channel = channel
        self._dialect = dialect
        self._held = b""

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Write the whole stream; what is returned is empty."""
        headers = self.get_wsgi_headers(environ).to_wsgi_list()
        try:
            self._channel.open(start_response(self.status, headers))
            last = self._play()
            with suppress(CallerGone):
                self._end(last)
        finally:
            self.close()
        if self._channel.is_broken:
            # The server must not put a proper end behind half an event.
            raise BrokenPipeError(errno.EPIPE, "the caller hung up")
        return ()

    def _end(self, last: bytes | Iterator[bytes]) -> None:
        if isinstance(last, bytes):
            self._channel.send(self._held + last)
            return
        for piece in chain((self._held,), last):
            self._channel.send(piece)

    def _play(self) -> bytes | Iterator[bytes]:
        """Send the events as they come, and return the last one.

        The reply has ended by then, and its record is committed.
        """
        with self._stream as stream:
            try:
                self._channel.send(self._dialect.opening(stream.reply))
                for delta in stream:
                    if delta.seam:
                        self._held += _told(delta.seam)
                    self._held += self._dialect.delta(delta, stream.reply)
                    if not (stream.is_ready and len(self._held) < HELD):
                        self._let_go()
                return self._dialect.done(stream.reply)
            except Exception as error:
                return self._dialect.error(report(error))

    def _let_go(self) -> None:
        """Send what was held back while there was more at hand.

        Where 300 threads share a core, each sending costs more than ten words: when
        we fall behind, the words that have come in meanwhile travel together.
        """
        held, self._held = self._held, b""
        self._channel.send(held)


def _told(seam: Seam) -> bytes:
    """The comment that tells, at every door, who goes on from which character."""
    return f": x-gateway-seam {seam.upstream} {seam.character}\n\n".encode()


def stream_answer(
    place: Place, asked: ChatRequest, budget: Budget, dialect: Dialect
) -> Response:
    """Open a reply in its place and return the response that will write it.

    Raises what `open` raises, before anything was sent.
    """
    if asked.stream_mode is not StreamMode.VERIFIED:
        limit = stream_seconds(request, services().stream_deadline)
        budget = budget.streaming(limit)
    response = event_stream(lambda inner: place.open(asked, inner), budget, dialect)
    response.headers.update(who_answers(notes().stream.reply))
    return response


def event_stream(
    open_reply: Callable[[Budget], ReplyStream], budget: Budget, dialect: Dialect
) -> Response:
    """Open a reply and return the response that will write it.

    The budget that it is opened with sends heartbeats while it is waited for.
    """
    channel = Channel(
        budget,
        request.environ.get("gunicorn.socket"),
        heartbeat=getattr(dialect, "heartbeat", COMMENT),
    )
    inner = budget.within(budget.remaining(), channel.beat)
    stream = notes().stream = open_reply(inner)
    if stream.outlives_caller:
        channel.outliving = stream
    return EventStream(stream, channel, dialect)


def register_streams(app: Flask) -> None:
    """See to it that a stream ends, also if its response is never called."""
    app.teardown_request(_end_stream)


def _end_stream(_: BaseException | None) -> None:
    if stream := notes().get("stream"):
        stream.close()
