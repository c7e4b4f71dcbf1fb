"""A caller's view of the running gateway, for the commands that need one."""

import http.client
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import click

from app.settings import Settings, SettingsError, load

URL = "VX11_OPERATOR_URL"
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
EXIT_CONFIG = 78  # EX_CONFIG


def settings_or_exit() -> Settings:
    """Load the settings; print every problem and exit 78 if they cannot be used."""
    try:
        return load()
    except SettingsError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(EXIT_CONFIG) from None


class GatewayClient:
    """Talks to one gateway. Exits 69 with a plain sentence if nobody is there."""

    def __init__(self, url: str, token: str, timeout: float) -> None:
        self._address = urlsplit(url)
        self._token = token
        self._timeout = timeout

    @classmethod
    def of_this_installation(cls) -> "GatewayClient":
        """The gateway that VX11_OPERATOR_URL or the settings point to."""
        settings = settings_or_exit()
        url = os.environ.get(URL) or f"http://{settings.bind}"
        token = settings.token.get_secret_value() if settings.token else ""
        return cls(url, token, settings.chat_deadline + 5)

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON of a GET; exit 69 if it is refused."""
        with self._sent("GET", path) as response:
            answer = json.loads(response.read())
        if response.status != 200:
            self._refused(answer)
        return dict(answer)

    def chat(self, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Send a chat and yield its events: meta, delta, done or error."""
        with self._sent("POST", "/operator/api/chat", json.dumps(body)) as response:
            if response.status == 200:
                yield from _events(response)
            else:
                yield "error", json.loads(response.read())

    @contextmanager
    def _sent(
        self, method: str, path: str, body: str | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        headers = {
            "X-VX11-Token": self._token,
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if method == "POST" else "application/json",
        }
        with closing(self._connection()) as connection:
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
            except OSError as error:
                address = self._address.geturl()
                click.echo(f"No gateway answers at {address}: {error}", err=True)
                raise SystemExit(EXIT_UNAVAILABLE) from None
            with response:
                yield response

    def _connection(self) -> http.client.HTTPConnection:
        kind = (
            http.client.HTTPSConnection
            if self._address.scheme == "https"
            else http.client.HTTPConnection
        )
        host = self._address.hostname or ""
        return kind(host, self._address.port, timeout=self._timeout)

    @staticmethod
    def _refused(answer: dict[str, Any]) -> None:
        click.echo(f"The gateway refuses: {answer.get('detail')}", err=True)
        raise SystemExit(EXIT_UNAVAILABLE)


def _events(lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    event = ""
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)
