"""Assembly: the parts of one process, put together. See the room for the order."""

from app.gateway.access.rate_limits import FailedAuth
from app.gateway.chain.admission import Admission
from app.gateway.chain.audited import Audited
from app.gateway.chain.big_work import BigWork
from app.gateway.chain.bound_sessions import BoundSessions
from app.gateway.chain.counted import Counted
from app.gateway.chain.drain import Drain
from app.gateway.chain.metered import Metered, Observer
from app.gateway.chat import StreamMode
from app.gateway.gateway_status import StatusBoard
from app.gateway.guard.breaker import CircuitBreaker, Transition
from app.gateway.guard.call_history import CallHistory
from app.gateway.guard.concurrency import ConcurrencyLimit
from app.gateway.guard.guarded import Guarded
from app.gateway.guard.hang_detection import HangCheck
from app.gateway.guard.health import HealthBoard
from app.gateway.guard.prober import Prober
from app.gateway.records.events import Events
from app.gateway.replay.replayer import AT_ONCE, Replayer
from app.gateway.routing.decisions import Decisions
from app.gateway.routing.retries import Retried, RetryBudget
from app.gateway.turns import Upstream
from app.services import PerProcess, Services
from app.settings import Settings, UpstreamSettings, load, shown
from app.settings.handed import START, handed
from app.storage.audit.queued_trail import QueuedTrail
from app.storage.backend import Host
from app.storage.evidence.reader import EvidenceReader
from app.storage.trail import BACKENDS, Backends
from app.telemetry.metrics.measuring import GaugeSources, Measuring
from app.telemetry.traces.export import open_exporter
from app.upstreams import KINDS, Kinds
from app.version import VERSION
from app.wiring import keys, parts
from app.wiring.hosts import Hosts, OwnFacts
from app.wiring.kept import KeptAnswers
from app.wiring.life import Life


class Assembly:
    """The parts of one process, in the order in which they need each other.

    Raises SettingsError for a file of tokens, an upstream or a place of the audit
    that cannot be used.
    """

    def __init__(
        self, settings: Settings, kinds: Kinds = KINDS, backends: Backends = BACKENDS
    ) -> None:
        self.settings = settings
        self.audit = parts.audit(settings, backends)
        self.transport = parts.transport(settings)
        self.upstreams = parts.upstreams(settings, self.transport, kinds)
        self.keyring = keys.keyring(settings)
        self.state_dir = parts.state_dir(settings, backends)
        self.used = keys.last_used(self.keyring, self.state_dir)
        self._forget_tokens = keys.watch_tokens(settings, self.keyring, self.used.look)
        self.shared = parts.shared(settings, backends)
        several = keys.has_several_callers(settings)
        self.facts = OwnFacts(settings, self.keyring, self.state_dir)
        self.hosts = Hosts(self.audit, self.shared, self.state_dir, several, self.facts)
        self.measuring = Measuring(parts.metrics_folder(settings, backends))
        self.exporter = open_exporter(settings.otlp_endpoint, VERSION)
        self.trail = self._trail()
        self.events = Events(self.trail)
        self.trail.events = self.life = self._life()
        self.health, self.prober = self._health_and_prober()
        self.breakers = self._breakers()
        self.guards = {
            one.name: self._guarded(one) for one in settings.effective_upstreams()
        }
        self.big_work = BigWork()
        stored = self.audit.answers()
        claims = self.hosts.claims()
        self.kept = KeptAnswers(settings, stored, claims, self.trail.key)
        self.audited = self._audited()
        self.gate = parts.gate(settings)
        self.history = CallHistory(self.shared)
        self.board = self._board()
        self.rate_limits = self.hosts.rate_limits()
        self.failed_auth = FailedAuth(self.rate_limits)
        self.failed_auth.on_failure(self.measuring.metrics.auth_failed)

    def start(self) -> None:
        """Start the background threads."""
        self.trail.start()
        self.life.begun()
        self.prober.start()
        self.hosts.start()
        self.measuring.watch(
            GaugeSources(
                self.gate,
                self.health,
                self.board,
                self.trail,
                self.breakers,
                self.shared,
                self.audit.space,
                self.kept.size,
                self.settings.workers,
                VERSION,
            )
        )

    def close(self) -> None:
        """End them, with all that is still to be written."""
        self._forget_tokens()
        self.failed_auth.close()
        self.measuring.close()
        self.exporter.close()
        self.prober.stop()
        self.hosts.close()
        self.audited.close()
        self.kept.close()
        if self.board.drain.is_final or handed() is None:
            self.life.ended()
        self.events.close()
        self.trail.close()
        self.transport.close()
        self.shared.close()

    def services(self) -> Services:
        """What the doors are handed."""
        settings, records = self.settings, self.audit.records()
        return Services(
            chat=self._chat(),
            trail=self.trail,
            records=records,
            evidence=EvidenceReader(records),
            activity=self.audit.activity(),
            health=self.health,
            keyring=self.keyring,
            tokens=keys.token_issuer(settings, self.trail, self.used),
            upstreams=tuple(self.upstreams),
            deadline=settings.chat_deadline,
            stream_deadline=settings.stream_deadline,
            max_body=parts.max_body(settings, self.upstreams),
            close=self.close,
            board=self.board,
            stream_mode=StreamMode(settings.stream_mode),
            models=parts.models(settings),
            tasks=frozenset().union(*(u.serves for u in self.upstreams.values())),
            cors_origins=frozenset(settings.cors_origins),
            ports=parts.ports(settings),
            where=parts.whereabouts(settings),
            inquire=self.prober.inquire,
            persons=parts.person_rules(settings),
            rate_limits=self.rate_limits,
            failed_auth=self.failed_auth,
            trusted_proxies=settings.trusted_proxies,
            sandbox_page=settings.sandbox_page,
            gate=self.gate,
            readers=parts.readers(settings),
            guards=self.guards,
            host_load=self.measuring.load,
            metrics_page=self.measuring.page,
            metrics_bind=settings.metrics_bind,
            traces=bool(self.exporter.observers),
            holds_secret=parts.redactor(settings).holds_secret,
            replayer=self._replayer(),
            settings=lambda: shown(settings),
            hosts=self.hosts.seen,
        )

    def _trail(self) -> QueuedTrail:
        settings, given = self.settings, handed()
        return self.audit.trail(
            anchor_file=settings.anchor_file,
            keep_bytes=settings.keep_bytes,
            is_known=given is not None,
            newest=given.head if given else None,
            keep=parts.keep(settings),
            host=Host(state_dir=self.state_dir, about=self.facts.as_json),
        )

    def _life(self) -> Life:
        """What tells of the gateway; a process that nobody made is one by itself."""
        given = handed()
        news = given.news if given else START
        return Life(news, self.events, self.shared, self.settings)

    def _replayer(self) -> Replayer:
        def is_busy() -> bool:
            load = self.gate.load()
            return load.waiting > 0 or load.busy >= self.gate.limits.slots

        return Replayer(
            self.audited,
            self.audit.records(),
            {name: one.is_repeatable for name, one in self.upstreams.items()},
            ConcurrencyLimit("replays", self.shared, AT_ONCE),
            is_busy=is_busy,
            tell=self.measuring.replayed,
        )

    def _chat(self) -> Admission:
        """Put the policies around each other."""
        observers: list[Observer] = [self.measuring.metrics, self.history]
        observers += self.exporter.observers
        return Admission(
            Metered(self.audited, observers),
            self.gate,
            is_short=parts.memory_is_short(self.settings),
            big_work=self.big_work,
            is_disk_slow=lambda: self.trail.signs().writing_for > parts.SLOW_COMMIT,
        )

    def _audited(self) -> Audited:
        settings, trail = self.settings, self.trail
        router = parts.router(settings, list(self.guards.values()), self.upstreams)
        name = parts.redactor(settings).name
        decisions = Decisions(router.table, self.life.digest, name)
        return Audited(
            self.kept.around(Counted(BoundSessions(router, trail.key))),
            trail,
            parts.content_policy(settings, trail.key, self.big_work, decisions.of),
            required=settings.audit_mode == "required",
        )

    def _board(self) -> StatusBoard:
        return StatusBoard(
            shared=self.shared,
            drain=Drain(),
            trail=self.trail,
            is_required=self.settings.audit_mode == "required",
            keyring=self.keyring,
            guards=self.guards,
            health=self.health,
            history=self.history,
        )

    def _guarded(self, one: UpstreamSettings) -> Guarded:
        return Guarded(
            self._repeating(one),
            self.health,
            self.breakers[one.name],
            self.hosts.limits(one.name, one.concurrency or None),
            hang_check=self._hang_check(one.name),
            queue_wait=self.settings.queue_wait,
        )

    def _hang_check(self, name: str) -> HangCheck | None:
        if not self.health.is_probed(name):
            return None
        return HangCheck(self.prober.inquire, self.settings.hang_check_after)

    def _repeating(self, one: UpstreamSettings) -> Upstream:
        """The upstream; one whose kind allows it is asked again where it helps."""
        upstream = self.upstreams[one.name]
        if upstream.is_repeatable:
            return Retried(upstream, one.retries, RetryBudget())
        return upstream

    def _health_and_prober(self) -> tuple[HealthBoard, Prober]:
        entries = self.settings.effective_upstreams()
        unprobed = [one.name for one in entries if not one.is_probed]
        board = HealthBoard(self.shared, unprobed=unprobed)
        pings = {
            name: upstream.ping
            for name, upstream in self.upstreams.items()
            if board.is_probed(name)
        }
        limit = self.settings.probe_timeout
        return board, Prober(board, pings, self.shared, limit=limit)

    def _breakers(self) -> dict[str, CircuitBreaker]:
        """One for each upstream; a sign of life ends what is open."""

        def tell(transition: Transition) -> None:
            self.measuring.breaker_moved(transition)
            self.events.breaker_moved(transition)

        breakers = {
            one.name: CircuitBreaker(
                one.name, self.shared, parts.rules(self.settings, one), listener=tell
            )
            for one in self.settings.effective_upstreams()
        }
        self.health.on_turn(self.events.verdict_turned)
        self.health.on_recovery(lambda name: breakers[name].revive())
        return breakers


def build_services(
    settings: Settings, kinds: Kinds = KINDS, backends: Backends = BACKENDS
) -> Services:
    """Connect everything for this process and start its background threads.

    Raises SettingsError for a file of tokens, an upstream or a place of the audit
    that cannot be used.
    """
    assembly = Assembly(settings, kinds, backends)
    services = assembly.services()
    assembly.start()
    return services


default_services = PerProcess(lambda: build_services(load()))
