"""A door and everybody who came in through it."""

import socket
from threading import Lock

from sandbox.connection import Connection, Serve
from sandbox.journal import Journal
from sandbox.listener import Door, Listener
from sandbox.service import Service
from sandbox.wire import Client

Address = tuple[str, int]  # host, port


class Entrance:
    """A listening socket and its connections. Threads may share it."""

    def __init__(
        self, address: Address, service: Service, serve: Serve, journal: Journal
    ) -> None:
        self._service = service
        self._serve = serve
        self._journal = journal
        self._inside: set[Connection] = set()
        self._lock = Lock()  # guards `_inside`
        self._listener = Listener(*address, self._welcome)
        self.port = self._listener.port

    def become(self, door: Door) -> None:
        """Open or shut the door; a shut one leaves nobody inside.

        Raises OSError if somebody else listens on the port.
        """
        if self._listener.become(door) and door is not Door.OPEN:
            self._send_away()

    def _welcome(self, sock: socket.socket, peer: str) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(sock, self._journal.accepted(), peer)
        connection = Connection(client, self._service, self._serve, self._journal)
        with self._lock:
            self._inside.add(connection)
        connection.start(self._forget)

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._inside.discard(connection)

    def _send_away(self) -> None:
        with self._lock:
            inside = list(self._inside)
        for connection in inside:
            connection.drop()
        for connection in inside:
            connection.join()
