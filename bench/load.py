"""A load generator: N connections, each sends its next request once answered.

It runs in a process of its own, so that its work is not charged to what it
measures. Raw bytes over a selector, because a client library would be the limit.
"""

import json
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import repeat


@dataclass(frozen=True)
class Result:
    """What one run saw; seconds throughout. `rate` is of whole 200s."""

    rate: float
    errors: int
    p50: float
    p99: float


class Connection:
    """One keep-alive connection with one request under way."""

    def __init__(self, port: int, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.port = port
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def send(self) -> None:
        self.received = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(next(self.requests))

    def is_answered(self) -> bool:
        """Read what is there; whether the answer is now whole."""
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionResetError
        self.received += piece
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return False
        length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
        return len(body) >= int(length)

    @property
    def is_ok(self) -> bool:
        return self.received.startswith(b"HTTP/1.1 200")


def request_bytes(path: str, token: str) -> bytes:
    body = json.dumps(
        {
            "message": "What is the state of the system, and since when?",
            "session_id": "bench",
            "messages": [{"role": "user", "content": "What is the state?"}],
            "metadata": {},
        }
    )
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nX-VX11-Token: {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def run(
    port: int, requests: Iterator[bytes], connections: int, seconds: float
) -> Result:
    """Keep all connections busy for so many seconds after a warm-up."""
    warm_up = min(2.0, seconds / 3)
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = Connection(port, requests)
        connection.send()
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    begin = time.perf_counter() + warm_up
    end, took, errors = begin + seconds, [], 0
    while (now := time.perf_counter()) < end:
        for key, _ in selector.select(0.1):
            connection = key.data
            try:
                if not connection.is_answered():
                    continue
            except OSError:
                errors += 1
                selector.unregister(connection.socket)
                connection.connect()
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            else:
                now = time.perf_counter()
                if begin <= now < end and connection.is_ok:
                    took.append(now - connection.sent_at)
                errors += not connection.is_ok
            connection.send()
    took.sort()
    return Result(
        rate=len(took) / seconds,
        errors=errors,
        p50=took[len(took) // 2] if took else 0,
        p99=took[int(len(took) * 0.99)] if took else 0,
    )


if __name__ == "__main__":
    port, path, token, connections, seconds = sys.argv[1:]
    same = repeat(request_bytes(path, token))
    result = run(int(port), same, int(connections), float(seconds))
    print(json.dumps(asdict(result)))
