"""Scripted upstreams: a switch and a madre that do as was drawn beforehand.

Whether each of them can answer chat number n is known before anybody asks, so it is
exact which chats could be answered. The number travels in the message.
"""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic

PATHS = {"switch": "/switch/chat", "madre": "/madre/chat"}


def draw(rate, seed):
    """Make what tells whether a chat can be answered; `rate` of them can not.

    The same seed draws the same, in whatever order it is asked.
    """
    return lambda number: random.Random(f"{seed}/{number}").random() >= rate


def always(number):
    return True


def never(number):
    return False


class Scripted:
    """One upstream, over real HTTP. Everything may be changed while it runs.

    `can` tells whether it answers a chat well; if not, it answers 500. `takes` and
    `health_takes` are in seconds, None for ever.
    """

    def __init__(self, kind, can=always):
        self.kind, self.can = kind, can
        self.takes, self.health_takes = 0.0, 0.0
        self.calls = self.running = self.most = 0
        self._lock = threading.Lock()  # guards the counts
        self._stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def forget(self):
        """Count the calls anew."""
        with self._lock:
            self.calls, self.most = 0, self.running

    def stop(self):
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def health(self):
        self._stopping.wait(self.health_takes)
        return 200, {"status": "ok"}

    def chat(self, body):
        with self._counted():
            self._stopping.wait(self.takes)
            number = self._number(body)
            if not self.can(number):
                return 500, {"detail": "drawn beforehand"}
            return 200, self._answer(f"answer {number}")

    def _number(self, body):
        is_switch = self.kind == "switch"
        message = body["messages"][-1]["content"] if is_switch else body["message"]
        return int(message.rpartition(" ")[2])

    def _answer(self, text):
        if self.kind == "switch":
            return {"status": "ok", "reply": text, "engine_used": "scripted"}
        return {"status": "DONE", "response": text, "model": "scripted"}

    @contextmanager
    def _counted(self):
        with self._lock:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            yield
        finally:
            with self._lock:
                self.running -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Say nothing: callers may leave whenever they like."""


def _handler_of(upstream):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one piece

        def do_GET(self):
            self._answer(*upstream.health())

        def do_POST(self):
            assert self.path == PATHS[upstream.kind]
            length = int(self.headers["Content-Length"])
            self._answer(*upstream.chat(json.loads(self.rfile.read(length))))

        def _answer(self, status, body):
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            """Say nothing."""

    return Handler


@contextmanager
def scripted(switch=always, madre=always):
    """A switch and a madre that can be told what they can."""
    upstreams = Scripted("switch", switch), Scripted("madre", madre)
    try:
        yield upstreams
    finally:
        for upstream in upstreams:
            upstream.stop()


@dataclass(frozen=True)
class Asked:
    """How a chat went; `began` and `took` are in seconds."""

    number: int
    status: int
    answer: str | None
    provider: str | None
    began: float
    took: float

    @property
    def ended(self):
        return self.began + self.took

    @property
    def is_answered(self):
        return self.status == 200 and self.answer == f"answer {self.number}"


def ask(gateway, number, **options):
    """Ask for the answer to one chat."""
    began = monotonic()
    told = gateway.chat(f"chat {number}", **options)
    body = told.json()
    took = monotonic() - began
    facts = body.get("response"), body.get("provider")
    return Asked(number, told.status_code, *facts, began, took)


def ask_all(gateway, numbers, *, at_once=2, **options):
    """Ask for all of them, so many at once, as fast as they are answered."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda n: ask(gateway, n, **options), numbers))


def ask_steadily(gateway, numbers, *, rate, until=lambda asked: False):
    """Ask for so many a second, however long each takes; return all that were asked.

    It ends early once `until` holds for one that has been answered.
    """
    began, ended = monotonic(), threading.Event()

    def one(number):
        asked = ask(gateway, number)
        if until(asked):
            ended.set()
        return asked

    with ThreadPoolExecutor(64) as pool:
        under_way = []
        for turn, number in enumerate(numbers):
            if ended.wait(max(0.0, began + turn / rate - monotonic())):
                break
            under_way.append(pool.submit(one, number))
        return [future.result() for future in under_way]
