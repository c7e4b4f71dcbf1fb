"""A caller's view of the running gateway, for the commands that need one."""

import http.client
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError, ValidationInfo, field_validator

from app.cli.address import Address
from app.cli.exits import CONFIG, NOT_ALLOWED, UNAVAILABLE
from app.cli.failing import Failure
from app.cli.screen import say_line
from app.settings import Settings, SettingsError, load_local, load_usable
from app.wiring import place_of_records

URL = "VX11_OPERATOR_URL"
STATUS = "/operator/api/status"
SETTINGS = "/operator/api/settings"
CHAT = "/operator/api/chat"
REPLAYS = "/operator/api/replays"
NOTHING_TO_SHOW = (
    "VX11_TENTACULO_LINK_TOKEN: no token is set; set it, or VX11_OPERATOR_TOKEN, to "
    "one that the gateway takes. `run` prints a line to paste."
)
LAST_EVENTS = ("done", "error")
CUT_OFF = {
    "detail": "The answer was cut off: the connection ended before the last event",
    "code": "cut_off",
}

_ADDRESS = re.compile(r"unix:.+|https?://[^\s/?#@]+(/[^\s?#]*)?")
_BROKEN = (OSError, http.client.HTTPException, ValueError)

Event = tuple[str, dict[str, Any]]


def settings_or_exit(heading: str = "") -> Settings:
    """Load the settings, of which no token need be; a Failure names every problem."""
    try:
        settings = load_local()
        place_of_records(settings)
        return settings
    except SettingsError as error:
        raise Failure(CONFIG, *error.problems, heading=heading) from None


class Refused(Exception):
    """The gateway did not do it: its status, code and reason, and seconds to wait."""

    def __init__(
        self, status: int, code: str, detail: str, retry_after: float | None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class GatewayClient:
    """Talks to one gateway, by TCP or by a socket file.

    Raises Failure, with a plain sentence, if nobody is there, if what is there does
    not speak as a gateway does, and if it does not take the token.
    """

    def __init__(self, address: str, token: str, timeout: float) -> None:
        self._address = address
        self._token = token
        self._timeout = timeout

    @classmethod
    def of_this_installation(
        cls, timeout: float | None = None, *, for_streams: bool = False
    ) -> "GatewayClient":
        """The gateway that VX11_OPERATOR_URL or the settings point to.

        `timeout` is in seconds; by default as long as a chat may take, or with
        `for_streams` a stream.

        It runs on while its file of settings is broken, and it is then that one wants
        to know how it is: so what can be used of them is used.
        """
        settings, problems = load_usable()
        for problem in problems:
            say_line(f"Warning: {problem}", err=True)
        if settings.token is None and settings.auth_mode == "token":
            raise Failure(CONFIG, NOTHING_TO_SHOW)
        token = settings.token.get_secret_value() if settings.token else ""
        limits = [settings.chat_deadline]
        limits += [settings.stream_deadline] if for_streams else []
        limit = timeout or max(limits) + 5
        return cls(_address(settings.bind), token, limit)

    def status(self) -> dict[str, Any]:
        """What the gateway knows: `policy` and `core_services` are there."""
        with self._sent("GET", STATUS) as response:
            if response.status != 200:
                raise Failure(
                    UNAVAILABLE,
                    f"The gateway refuses: {self._said(response)['detail']}",
                )
            answer = self._json(response)
        try:
            _Status.model_validate(answer)
        except ValidationError:
            raise self._is_none(response) from None
        return answer

    def settings(self) -> dict[str, Any]:
        """The settings that it goes by, by their keys; no secret."""
        with self._sent("GET", SETTINGS) as response:
            answer = (
                self._said(response) if response.status != 200 else self._json(response)
            )
            found = answer.get("settings")
            if not isinstance(found, dict):
                raise self._is_none(response)
        return found

    def chat(self, body: dict[str, Any]) -> Iterator[Event]:
        """Send a chat and yield its events: meta, delta, and at last done or error."""
        with self._sent("POST", CHAT, json.dumps(body)) as response:
            if response.status != 200:
                yield "error", self._said(response)
            elif response.headers.get_content_type() != "text/event-stream":
                raise self._is_none(response)
            else:
                yield from _whole(_events(response))

    def replay(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask again what is on record; return how it compares. Raises Refused."""
        with self._sent("POST", REPLAYS, json.dumps(body)) as response:
            if response.status == 200:
                return self._json(response)
            said = self._said(response)
            wait = response.headers.get("Retry-After", "")
            raise Refused(
                response.status,
                str(said.get("code")),
                said["detail"],
                float(wait) if wait.isdecimal() else None,
            )

    @contextmanager
    def _sent(
        self, method: str, path: str, body: str | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        headers = {
            "X-VX11-Token": self._token,
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if method == "POST" else "application/json",
        }
        with closing(_connection(self._address, self._timeout)) as connection:
            try:
                connection.request(method, _base(self._address) + path, body, headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                sentence = f"No gateway answers at {self._address}: {error}"
                raise Failure(UNAVAILABLE, sentence) from None
            with response:
                yield response

    def _said(self, response: http.client.HTTPResponse) -> dict[str, Any]:
        """Why the gateway refuses: `detail` and `code`."""
        answer = self._json(response)
        if not isinstance(answer.get("detail"), str):
            raise self._is_none(response)
        if response.status in {401, 403}:
            raise Failure(
                NOT_ALLOWED,
                f"The gateway does not take the token: {answer['detail']}. "
                "Set VX11_TENTACULO_LINK_TOKEN or VX11_OPERATOR_TOKEN to one of its.",
            )
        return answer

    def _json(self, response: http.client.HTTPResponse) -> dict[str, Any]:
        try:
            answer = json.loads(response.read())
        except _BROKEN:
            raise self._is_none(response) from None
        if not isinstance(answer, dict):
            raise self._is_none(response)
        return answer

    def _is_none(self, response: http.client.HTTPResponse) -> Failure:
        return Failure(
            UNAVAILABLE,
            f"What answers at {self._address} ({response.status}) is no gateway, or "
            "a proxy that does not reach it",
        )


class _Service(BaseModel):
    """As much of an upstream's state as commands print."""

    status: str
    reason: str


class _Routing(BaseModel):
    """In which order they are asked."""

    order: list[str]


class _Status(BaseModel):
    """The answer of a gateway; of anything else it would be something else."""

    core_services: dict[str, _Service]
    routing: _Routing

    @field_validator("routing")
    @classmethod
    def _is_of_these(cls, routing: _Routing, info: ValidationInfo) -> _Routing:
        if not set(routing.order) <= info.data.get("core_services", {}).keys():
            raise ValueError("the order is of others")
        return routing


def _address(bind: str) -> str:
    """Where the gateway is; a Failure names the variable that cannot be used."""
    given = os.environ.get(URL)
    address = given or (bind if bind.startswith("unix:") else Address(bind).url)
    if not (_ADDRESS.fullmatch(address) and _has_port(address)):
        expected = "must be http://HOST:PORT, https://HOST:PORT or unix:PATH"
        raise Failure(CONFIG, f"{URL if given else 'VX11_BIND'}: {expected}")
    return address


def _has_port(address: str) -> bool:
    try:
        return urlsplit(address).port != 0
    except ValueError:
        return False


def _connection(address: str, timeout: float) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return Address(address).connection(timeout)
    url = urlsplit(address)
    kind = (
        http.client.HTTPSConnection
        if url.scheme == "https"
        else http.client.HTTPConnection
    )
    return kind(url.hostname or "", url.port, timeout=timeout)


def _base(address: str) -> str:
    """The path below which a proxy has the gateway."""
    return "" if address.startswith("unix:") else urlsplit(address).path.rstrip("/")


def _whole(events: Iterator[Event]) -> Iterator[Event]:
    """The events up to the last one, or to an error that says that it is missing."""
    try:
        for name, data in events:
            yield name, data
            if name in LAST_EVENTS:
                return
    except _BROKEN:
        pass  # told below, as an end without a last event is
    yield "error", CUT_OFF


def _events(lines: Iterable[bytes]) -> Iterator[Event]:
    """See https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    event = ""
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, _object(value)


def _object(text: str) -> dict[str, Any]:
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("no event of a gateway")
    return data
