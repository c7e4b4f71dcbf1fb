"""What a stand-in saw of its clients, and the means to wait for it without sleeping."""

from collections import deque
from collections.abc import Callable
from threading import Condition

from sandbox.wire import Request

KEPT = 10_000  # requests; a demo that runs for weeks must not fill the memory


class Journal:
    """Counts and keeps what happened. Threads may share it."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._requests: deque[Request] = deque(maxlen=KEPT)
        self._connections = 0
        self._chats = 0
        self._left = 0

    def accepted(self) -> int:
        """Note a new connection and return its number, from 1."""
        with self._changed:
            self._connections += 1
            self._changed.notify_all()
            return self._connections

    def saw(self, request: Request, *, is_chat: bool) -> None:
        """Note a request, before anything is answered to it."""
        with self._changed:
            self._requests.append(request)
            self._chats += is_chat
            self._changed.notify_all()

    def left(self) -> None:
        """Note that a client left while its request was being worked on."""
        with self._changed:
            self._left += 1
            self._changed.notify_all()

    @property
    def requests(self) -> list[Request]:
        """The latest requests, oldest first."""
        with self._changed:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        with self._changed:
            return self._connections

    @property
    def chats(self) -> int:
        """How many POSTs to the chat route were seen."""
        with self._changed:
            return self._chats

    @property
    def closed_by_peer(self) -> int:
        """How many clients left while their request was being worked on."""
        with self._changed:
            return self._left

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool:
        """Wait until it holds, at most `timeout` seconds; return whether it does.

        The predicate is asked after each change and may read this journal.
        """
        with self._changed:
            return self._changed.wait_for(predicate, timeout)
