"""The stand-ins, and a client that sees every byte and every way to close."""

import json
import select
import socket
from urllib.parse import urlsplit

import pytest

from sandbox.server import SandboxServer

TOKEN = "a-token-for-tests-0123456789"
SWITCH_BODY = {
    "messages": [{"role": "user", "content": "I need a lighthouse"}],
    "session_id": "s-1",
    "correlation_id": "c-1",
    "metadata": {},
}
MADRE_BODY = {
    "message": "I need a lighthouse",
    "session_id": "s-1",
    "correlation_id": "c-1",
    "context": {},
}
CHATS = {"switch": ("/switch/chat", SWITCH_BODY), "madre": ("/madre/chat", MADRE_BODY)}


class RawClient:
    """A plain socket to a sandbox: nothing is hidden, decoded or retried."""

    def __init__(self, server, kind="switch", timeout=10.0):
        self.path, self.chat_body = CHATS[kind]
        self.sock = socket.create_connection(address_of(server), timeout)

    def send(self, data):
        self.sock.sendall(data)

    def chat(self, extra=b""):
        body = json.dumps(self.chat_body).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: sandbox\r\nx-vx11-token: {TOKEN}\r\n"
        )
        length = f"content-length: {len(body)}\r\n\r\n"
        self.send(head.encode() + extra + length.encode() + body)

    def get(self, path):
        self.send(f"GET {path} HTTP/1.1\r\nhost: sandbox\r\n\r\n".encode())

    def some(self):
        return self.sock.recv(65536)

    def until(self, end):
        data = b""
        while end not in data:
            if not (piece := self.some()):
                break
            data += piece
        return data

    def answer(self):
        """One answer with a length: its head, as text, and its body."""
        head, _, body = self.until(b"\r\n\r\n").partition(b"\r\n\r\n")
        head = head.decode("latin-1")
        length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
        while len(body) < length and (piece := self.some()):
            body += piece
        return head, body

    def everything(self):
        """All bytes until the other side ends the connection in good order."""
        data = bytearray()
        while piece := self.some():
            data += piece
        return bytes(data)

    def is_closed(self):
        return self.some() == b""

    def hears_nothing_for(self, seconds):
        return not select.select([self.sock], [], [], seconds)[0]

    def close(self):
        self.sock.close()


def address_of(server):
    url = urlsplit(server.url)
    return url.hostname, url.port


@pytest.fixture
def token():
    return TOKEN


@pytest.fixture
def switch():
    with SandboxServer("switch", token=TOKEN) as server:
        yield server


@pytest.fixture
def madre():
    with SandboxServer("madre") as server:
        yield server


@pytest.fixture
def connect():
    """Open raw connections that are closed when the test is over."""
    clients = []

    def open_one(server, kind="switch", **options):
        clients.append(RawClient(server, kind, **options))
        return clients[-1]

    yield open_one
    for client in clients:
        client.close()


@pytest.fixture
def address():
    return address_of


@pytest.fixture
def switch_body():
    return dict(SWITCH_BODY)


@pytest.fixture
def madre_body():
    return dict(MADRE_BODY)
