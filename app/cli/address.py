"""Address: where the gateway listens, as seen by who starts it."""

import socket
from dataclasses import dataclass
from http.client import HTTPConnection

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what to ask instead


@dataclass(frozen=True, slots=True)
class Address:
    """HOST:PORT, [HOST]:PORT or unix:PATH."""

    text: str

    @property
    def path(self) -> str:
        """Of a Unix socket; "" for a port."""
        return self.text.removeprefix("unix:") if self._is_unix else ""

    @property
    def url(self) -> str:
        """What to ask; that of a Unix socket serves beside its path only."""
        if self._is_unix:
            return "http://localhost"
        host, port = self._host_and_port()
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def connection(self, timeout: float) -> HTTPConnection:
        """A connection to who listens there."""
        if self._is_unix:
            return _UnixConnection(self.path, timeout)
        host, port = self._host_and_port()
        return HTTPConnection(host, port, timeout=timeout)

    @property
    def _is_unix(self) -> bool:
        return self.text.startswith("unix:")

    def _host_and_port(self) -> tuple[str, int]:
        host, _, port = self.text.rpartition(":")
        host = host.strip("[]")
        return ANY.get(host, host), int(port)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
