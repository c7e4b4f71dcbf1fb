"""One request and every means to answer it, well or badly.

This is what the faults are written against.
"""

import select
import socket
from contextlib import suppress
from struct import pack
from typing import Any

from sandbox.service import Service
from sandbox.wire import Answer, Client, Request

# Linux tells of a peer that has closed even while its bytes lie unread.
LEFT = getattr(select, "POLLRDHUP", 0)


class ClientLeft(Exception):
    """The connection ended, from either side, while we were still at work."""


class Exchange:
    """A request and its connection; it belongs to the connection's thread.

    `turn` is 0 for the first request on the connection, 1 for the next and so on;
    `fault_age` is the time in seconds since the fault that plays was switched on.
    """

    def __init__(
        self, client: Client, request: Request, turn: int, service: Service
    ) -> None:
        self._client = client
        self._sock = client.sock
        self.request = request
        self.peer = client.peer
        self.turn = turn
        self.service = service
        self.fault_age = 0.0
        self.is_last = _wants_close(request)

    def read_body(self) -> None:
        """Read the rest of the request; until then `request.body` is empty."""
        self.request = self.request._replace(body=self._client.body(self.request))

    def answer(self) -> Answer:
        """What the service properly answers, after the time it takes for it."""
        self.pause(self.service.latency)
        return self.service.answer(self.request)

    def reply(self, **changes: object) -> dict[str, Any]:
        """The body of a proper 200 with fields changed; None is JSON's null."""
        return {**self.service.reply(self.request), **changes}

    def reply_saying(self, text: object) -> dict[str, Any]:
        """The body of a proper 200 with something else in the place of its text."""
        return self.service.saying(self.request, text)

    @property
    def wants_stream(self) -> bool:
        """Whether the answer shall come word by word."""
        return b'"stream":true' in self.request.body.replace(b" ", b"")

    def respond(self, answer: Answer) -> None:
        """Send an answer in one piece and let the connection live."""
        body = b"" if self.request.method == "HEAD" else answer.body
        self.send(answer.head(closes=self.is_last) + body)

    def send(self, data: bytes) -> None:
        """Send raw bytes; raises ClientLeft when nobody takes them any more."""
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise ClientLeft from error

    def pause(self, seconds: float | None) -> None:
        """Wait, for ever if None, or until the connection ends: ClientLeft."""
        if seconds == 0:
            return
        poll = select.poll()
        poll.register(self._sock, LEFT)
        if poll.poll(None if seconds is None else seconds * 1000):
            raise ClientLeft

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection, with a TCP reset instead of an orderly end."""
        if reset:  # lingering for zero seconds is what makes the kernel reset
            linger = pack("ii", 1, 0)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self.is_last = True


def _wants_close(request: Request) -> bool:
    return "close" in request.header("connection").lower()
