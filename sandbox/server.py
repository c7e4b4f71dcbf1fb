"""SandboxServer: one stand-in, its doors, and what may be asked of it by a test."""

from collections.abc import Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self

from sandbox.anthropic import Anthropic
from sandbox.breakage import Breakage
from sandbox.control import PREFIX, Control
from sandbox.entrance import Entrance
from sandbox.exchange import Exchange
from sandbox.journal import Journal
from sandbox.listener import Door
from sandbox.madre import Madre
from sandbox.openai import OpenAI
from sandbox.service import Service
from sandbox.switch import Switch
from sandbox.wire import Request

Kind = Literal["switch", "madre", "openai", "anthropic"]

LOOPBACK = "127.0.0.1", 0


class SandboxServer:
    """A stand-in on a port of its own. Threads may share it.

    `kind` may also be a service that was made elsewhere, with `token` and `latency`
    of its own. `token` None lets switch accept any token that is not empty, and
    openai and anthropic any or none; madre asks for none. `latency` is in seconds. The
    control API is served at `url` and, where no fault reaches it, at `control_url`, on
    loopback.
    """

    def __init__(
        self,
        kind: Kind | Service,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        *,
        latency: float = 0.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._service = _service(kind, token, latency)
        self._address = host, port
        self._clock = clock
        self._journal = Journal()
        self._breakage = Breakage(self._service.chat_path)
        self._control = Control(lambda: self._breakage.armed, self._break, self.heal)
        self._control.all = {self._service.name: self._control}
        self._front: Entrance | None = None
        self._side: Entrance | None = None

    def start(self) -> Self:
        """Listen and serve. Raises OSError if the port is taken."""
        serve, service, journal = self._serve, self._service, self._journal
        try:
            self._front = Entrance(self._address, service, serve, journal)
            self._front.become(Door.OPEN)
            self._side = Entrance(LOOPBACK, service, self._serve_side, Journal())
            self._side.become(Door.OPEN)
        except OSError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End everything at once, hung requests too. May be called again."""
        for entrance in (self._front, self._side):
            if entrance is not None:
                entrance.become(Door.CLOSED)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the service is; known once it has started."""
        return f"http://{self._address[0]}:{_started(self._front).port}"

    @property
    def control_url(self) -> str:
        """Where the control API answers even while connecting to `url` fails."""
        return f"http://127.0.0.1:{_started(self._side).port}"

    def break_with(
        self,
        fault: str,
        *,
        path: str | None = None,
        times: int | None = None,
        **params: Any,
    ) -> None:
        """Fail from now on, for the chat unless the fault or `path` says otherwise.

        `path="*"` means every path; `times` None lasts until `heal`. Raises
        ValueError for what the catalogue does not know.
        """
        self._break(fault, path, times, params)

    def heal(self) -> None:
        """Serve properly again. Requests that a fault holds up stay held up."""
        self._breakage.disarm()
        _started(self._front).become(Door.OPEN)

    def show_with(self, others: "Mapping[str, SandboxServer]") -> None:
        """Let the page of this stand-in show these, by their names."""
        self._control.all = {name: one._control for name, one in others.items()}

    @property
    def page_url(self) -> str:
        """Where the page is that breaks and heals stand-ins, for people."""
        return f"{self.control_url}{PREFIX}"

    @property
    def requests(self) -> list[Request]:
        """The latest requests, oldest first, those that a fault dropped included."""
        return self._journal.requests

    @property
    def connections(self) -> int:
        """How many connections the service has accepted."""
        return self._journal.connections

    @property
    def chats(self) -> int:
        """How many POSTs to the chat route were seen."""
        return self._journal.chats

    @property
    def closed_by_peer(self) -> int:
        """How many clients left while their request was being worked on."""
        return self._journal.closed_by_peer

    def wait_for_chats(self, count: int, timeout: float = 10.0) -> bool:
        """Wait until so many chats were seen; return whether they were."""
        return self._journal.wait_for(lambda: self.chats >= count, timeout)

    def wait_for_closed_by_peer(self, count: int, timeout: float = 10.0) -> bool:
        """Wait until so many clients have left; return whether they have."""
        return self._journal.wait_for(lambda: self.closed_by_peer >= count, timeout)

    def _break(
        self, fault: str, path: str | None, times: int | None, params: dict[str, Any]
    ) -> None:
        front = _started(self._front)
        armed = self._breakage.arm(fault, path, times, params, self._clock())
        front.become(armed.fault.door)

    def _serve(self, x: Exchange) -> None:
        if x.request.path.startswith(PREFIX):
            self._serve_side(x)
            return
        armed = self._breakage.take(x, self._clock())
        if armed is None or not armed.fault.skips_body:
            x.read_body()
        route = x.request.method, x.request.path
        self._journal.saw(x.request, is_chat=route == ("POST", self._service.chat_path))
        if armed is None:
            self._service.serve(x)
        else:
            armed.play(x)

    def _serve_side(self, x: Exchange) -> None:
        x.read_body()
        x.respond(self._control.answer(x.request, x.peer))


def _service(kind: Kind | Service, token: str | None, latency: float) -> Service:
    if isinstance(kind, Service):
        return kind
    if kind == "openai":
        return OpenAI(token, latency)
    if kind == "anthropic":
        return Anthropic(token, latency)
    return Switch(token, latency) if kind == "switch" else Madre(latency)


def _started(entrance: Entrance | None) -> Entrance:
    if entrance is None:
        raise RuntimeError("the sandbox has not been started")
    return entrance
