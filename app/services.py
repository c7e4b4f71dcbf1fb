"""Services: the frozen bundle that the doors are handed, one per process."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar

from app.gateway.abilities import CHAT_ONLY
from app.gateway.access.hosts import SharingHost
from app.gateway.access.persons import PersonRules
from app.gateway.access.rate_limits import FailedAuth, RateLimits, Unlimited
from app.gateway.access.token_issuer import TokenIssuer
from app.gateway.access.tokens import Keyring
from app.gateway.chain.admission import Admission
from app.gateway.chain.admission_queue import AdmissionQueue, HostLoad, Limits
from app.gateway.chain.drain import Drain
from app.gateway.chat import StreamMode
from app.gateway.evidence.evidence import EvidenceSource, NoEvidence
from app.gateway.gateway_status import StatusBoard
from app.gateway.guard.guarded import Guarded
from app.gateway.guard.health import HealthBoard
from app.gateway.records.activity import Activity
from app.gateway.records.audit import Records, Trail
from app.gateway.replay.replayer import Replayer
from app.gateway.routing.models import Models
from app.host.forks import at_fork

T = TypeVar("T")
# Reading the records takes seconds at worst, and a thread. There are eight beside those
# of the chats, of which health and metrics need one.
READERS = Limits(slots=3, queue=4, wait=2.0, streams=1)


def _not_asked() -> "Future[bool]":
    """The answer where nobody can be asked: it is given up at once."""
    answer: Future[bool] = Future()
    answer.cancel()
    return answer


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What an upstream speaks, and the URL at which it is asked."""

    kind: str
    url: str


@dataclass(frozen=True, slots=True)
class Services:
    """What a door may use. Threads may share it; processes may not.

    `keyring` is None when authentication is off, `tokens` where there is no file of
    them to change. `upstreams` are the names, in the
    order of asking; `deadline` and `stream_deadline` are in seconds, `max_body` in
    bytes. `stream_mode` is for callers who choose none; `models` are the names
    of upstreams and routes, `tasks` all that some upstream serves. `cors_origins` are
    those whose pages may ask, `*` for any. `ports` are those of the upstreams, by
    name. `persons` are the rules for callers who may speak for others.
    `trusted_proxies` are addresses, networks or `unix` that may say whom they speak
    for. `sandbox_page` is the address of the page that breaks the sandbox, where there
    is one. `gate` and
    `guards`, by the upstreams' names, are for looking at; `readers` are the places of
    those who read the records; `host_load` tells of all workers what `gate` tells of
    this one, or None while that is not known. `metrics_page` is None where nothing can
    be measured; `metrics_bind` is the address that serves it without a token. `traces`
    says whether requests that no caller traces are to be traced all the same.
    `board` tells how the gateway is. `holds_secret` tells of an id from a known caller
    whether what opens the gateway is in it: then it goes nowhere. `settings` are those
    in force, by their keys, without a secret. `hosts` are those that write the same
    records, none where there is but this one. `replayer` asks again what is on record.
    """

    chat: Admission
    trail: Trail
    records: Records
    activity: Activity
    health: HealthBoard
    keyring: Keyring | None
    upstreams: tuple[str, ...]
    deadline: float
    max_body: int
    close: Callable[[], None]
    board: StatusBoard
    evidence: EvidenceSource = field(default_factory=NoEvidence)
    stream_deadline: float = 600.0
    stream_mode: StreamMode = StreamMode.LIVE
    tokens: TokenIssuer | None = None
    models: Models = field(default_factory=Models)
    tasks: frozenset[str] = CHAT_ONLY
    cors_origins: frozenset[str] = frozenset()
    ports: Mapping[str, int] = field(default_factory=dict)
    where: Mapping[str, Whereabouts] = field(default_factory=dict)
    inquire: Callable[[str], "Future[bool]"] = lambda _: _not_asked()
    persons: PersonRules = field(default_factory=PersonRules)
    rate_limits: RateLimits = field(default_factory=Unlimited)
    failed_auth: FailedAuth = field(default_factory=lambda: FailedAuth(Unlimited()))
    trusted_proxies: tuple[str, ...] = ()
    sandbox_page: str | None = None
    gate: AdmissionQueue | None = None
    readers: AdmissionQueue = field(default_factory=lambda: AdmissionQueue(READERS))
    guards: Mapping[str, Guarded] = field(default_factory=dict)
    host_load: Callable[[], HostLoad | None] = lambda: None
    metrics_page: Callable[[], bytes] | None = None
    metrics_bind: str | None = None
    traces: bool = False
    holds_secret: Callable[[str], bool] = lambda _: False
    replayer: Replayer | None = None
    settings: Callable[[], Mapping[str, Any]] = dict
    hosts: Callable[[], Sequence[SharingHost]] = tuple

    @property
    def drain(self) -> Drain:
        """The stop of this process."""
        return self.board.drain


class PerProcess(Generic[T]):
    """A value that each process builds for itself, at first use.

    A connection, thread or lock that crosses a fork gives one user another's
    answer (measured: 41 of 120), so a forked child forgets what it inherited.
    Threads may share it.
    """

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._value: T | None = None
        self._lock = Lock()  # guards the building
        at_fork(in_child=self._forget)

    def __call__(self) -> T:
        """Return this process's value; build it if this is the first call."""
        if self._value is None:
            with self._lock:
                if self._value is None:
                    self._value = self._build()
        return self._value

    def _forget(self) -> None:
        self._value = None
        self._lock = Lock()  # whoever held the old one did not survive the fork
