"""A server below HTTP: each connection runs a script that may do anything."""

import socket
import struct
from contextlib import suppress
from threading import Condition, Event, Thread
from time import monotonic

OK_BODY = b'{"status":"ok","reply":"hello"}'
OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    % (len(OK_BODY), OK_BODY)
)
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def answering(*answers):
    """A script that gives one answer per request, then closes."""

    def script(peer):
        for answer in answers:
            if peer.read_request() is None:
                return
            peer.send(answer)

    return script


def serving(peer):
    """A script that answers every request well."""
    while peer.read_request() is not None:
        peer.send(OK)


class Peer:
    """One accepted connection, as its script sees it. `turn` counts from 0."""

    def __init__(self, server, sock, turn):
        self.server, self.sock, self.turn = server, sock, turn
        self._buffer = b""

    def read_head(self):
        while b"\r\n\r\n" not in self._buffer:
            piece = self.sock.recv(65536)
            if not piece:
                return None
            self._buffer += piece
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def read_request(self):
        """The next request whole, or None when the other side has closed."""
        head = self.read_head()
        if head is None:
            return None
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(self._buffer) < length:
            self._buffer += self.sock.recv(65536)
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        self.server.saw(head + body)
        return head + body

    def send(self, data):
        self.sock.sendall(data)

    def drip(self, data, every=0.05):
        for byte in data:
            self.send(bytes((byte,)))
            self.pause(every)

    def pause(self, seconds=None):
        """Wait; for ever, which means until the server stops, without seconds."""
        self.server.stopping.wait(seconds)

    def reset(self):
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.sock.close()

    def wait_for_close(self):
        """Return once the other side has closed, and note that it did."""
        with suppress(OSError):
            while self.sock.recv(65536):
                pass
        self.server.closed_by_peer.set()


class RawServer:
    """Runs `script(peer)` for each connection, over TLS if a context is given."""

    def __init__(self, script, tls=None, host="127.0.0.1", port=0):
        self._script, self._tls = script, tls
        self._listener = socket.create_server((host, port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.host = host
        self.stopping = Event()
        self.closed_by_peer = Event()
        self.connections = 0
        self.requests = []
        self._changed = Condition()
        self._socks = []
        Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self.host}:{self.port}/chat"

    def saw(self, request):
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def wait_for_requests(self, count, timeout=5.0):
        with self._changed:
            return self._changed.wait_for(lambda: len(self.requests) >= count, timeout)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            turn, self.connections = self.connections, self.connections + 1
            self._socks.append(sock)
            Thread(target=self._run, args=(sock, turn), daemon=True).start()

    def _run(self, sock, turn):
        with suppress(OSError):  # the other side may do anything too
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._socks.append(sock)
            self._script(Peer(self, sock, turn))
        sock.close()

    def stop(self):
        self.stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


class BlockedPort:
    """An address where connecting is never completed: its backlog is full."""

    def __init__(self, host="127.0.0.1", port=0):
        self._listener = socket.socket()
        self._listener.bind((host, port))
        self._listener.listen(0)
        self.host, self.port = self._listener.getsockname()
        self._fillers = [socket.socket() for _ in range(3)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))

    def stop(self):
        for sock in [*self._fillers, self._listener]:
            sock.close()


class Stopwatch:
    """Measures a block, in seconds."""

    def __enter__(self):
        self._started = monotonic()
        return self

    def __exit__(self, *_):
        self.took = monotonic() - self._started
