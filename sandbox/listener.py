"""The listening socket: open, refusing or blocked, and always on the same port."""

import errno
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from threading import Lock, Thread

BACKLOG = 1024
FILLERS = 4  # with a backlog of 0 the kernel still takes one or two
NAP = 0.05  # seconds until descriptors or memory may have become free
PASSING = {errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Welcome = Callable[[socket.socket, str], None]


class Door(Enum):
    """What becomes of those who connect."""

    OPEN = "open"  # they are accepted
    REFUSING = "refusing"  # the kernel refuses them: nobody listens
    BLOCKED = "blocked"  # the kernel drops their SYN: the queue is full
    CLOSED = "closed"  # refused for good; the port is free for others


class Listener:
    """Accepts connections in a thread of its own and hands each to `welcome`.

    Threads may share it. The port stays reserved by a bound socket that never
    listens, so that nobody takes it while we refuse.
    """

    def __init__(self, host: str, port: int, welcome: Welcome) -> None:
        self._host = host
        self._welcome = welcome
        self._reservation = _bound(host, port)
        self.port: int = self._reservation.getsockname()[1]
        self._listening: socket.socket | None = None
        self._thread: Thread | None = None
        self._fillers: list[socket.socket] = []
        self._state = Door.REFUSING
        self._lock = Lock()  # one change at a time

    def become(self, state: Door) -> bool:
        """Change to this state; return whether that was a change at all.

        Raises OSError if somebody else listens on the port already.
        """
        with self._lock:
            if state is self._state or self._state is Door.CLOSED:
                return False
            self._shut()
            self._state = Door.REFUSING
            if state is Door.OPEN:
                self._open()
            elif state is Door.BLOCKED:
                self._block()
            elif state is Door.CLOSED:
                self._reservation.close()
            self._state = state
            return True

    def _open(self) -> None:
        self._listening = _bound(self._host, self.port)
        self._listening.listen(BACKLOG)
        name = f"sandbox-accept-{self.port}"
        accept = Thread(target=self._accept, args=(self._listening,), name=name)
        accept.daemon = True
        accept.start()
        self._thread = accept

    def _block(self) -> None:
        self._listening = _bound(self._host, self.port)
        self._listening.listen(0)
        for _ in range(FILLERS):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self._host, self.port))
            self._fillers.append(filler)

    def _shut(self) -> None:
        if self._listening is not None:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # wakes accept()
            self._listening.close()
        if self._thread is not None:
            self._thread.join()
        for filler in self._fillers:
            filler.close()
        self._listening, self._thread, self._fillers = None, None, []

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                accepted, address = listening.accept()
            except OSError as error:
                if error.errno not in PASSING:
                    return  # shut, by us
                select.select([], [], [], NAP)
            else:
                self._welcome(accepted, address[0])


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
