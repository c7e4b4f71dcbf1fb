"""Wiring: the one place where the parts meet.

The order of the policies is written here once:

    Metered(Audited(Admitted(ChatRouter(Guarded(switch), Guarded(madre)))))
    ...                                 Guarded(Repeating(openai))

What is counted is what callers get; refusals are on record; a slot covers all
attempts.
"""

from collections.abc import Callable
from pathlib import Path

from app.gateway.admission import Admitted
from app.gateway.audit import Records
from app.gateway.audited import Audited, Content, ContentPolicy
from app.gateway.breaker import CircuitBreaker, Listener
from app.gateway.budget import Budget
from app.gateway.cap import CallCap
from app.gateway.chat import StreamMode
from app.gateway.circuit import Rules
from app.gateway.gate import Gate, Limits
from app.gateway.guarded import Guarded
from app.gateway.health import HealthBoard
from app.gateway.memory import Watermark
from app.gateway.metered import Metered
from app.gateway.prober import Prober
from app.gateway.rate_limits import FailedAuth
from app.gateway.redaction import Redactor
from app.gateway.retries import Repeating, RetryAllowance
from app.gateway.routes import Route, is_glob
from app.gateway.routing import ChatRouter, Upstream
from app.gateway.shared import SharedState
from app.gateway.tokens import LINK, Keyring, Token, TokenStore, TokensUnusable
from app.services import PerProcess, Services
from app.settings import Settings, SettingsError, UpstreamSettings, load
from app.storage.queued_trail import QueuedTrail
from app.storage.rate_limits import SlidingRateLimits
from app.storage.shared_memory import MEMORY, open_shared
from app.storage.token_edits import TokenFile
from app.storage.token_file import read_tokens
from app.storage.token_watch import TokenWatch
from app.storage.trail import (
    audit_files,
    open_activity,
    open_reader,
    open_trail,
    verify_trail,
)
from app.storage.verification import Verification
from app.telemetry import memory
from app.telemetry.export import open_exporter
from app.telemetry.folder import folder_of
from app.telemetry.measuring import Measuring, Watched
from app.upstreams import openai_wire
from app.upstreams.madre import MadreUpstream
from app.upstreams.sandbox_control import SandboxControl
from app.upstreams.switch import SwitchUpstream
from app.upstreams.transport import Transport
from app.version import VERSION

ProbedUpstream = SwitchUpstream | MadreUpstream | openai_wire.OpenAIUpstream


def build_services(settings: Settings) -> Services:
    """Connect everything for this process and start its background threads.

    Raises SettingsError for a file of tokens that cannot be used.
    """
    keyring = _keyring(settings)
    forget_tokens = _watch_tokens(settings, keyring)
    shared = _shared(settings)
    measuring = Measuring(metrics_folder(settings))
    exporter = open_exporter(settings.otlp_endpoint, VERSION)
    rate_limits = SlidingRateLimits(shared)
    failed_auth = FailedAuth(rate_limits)
    failed_auth.on_failure(measuring.metrics.auth_failed)
    transport = Transport(
        verify=str(settings.tls_ca) if settings.tls_ca else True,
        pool_size=settings.threads,
    )
    upstreams = [
        build_upstream(one, settings, transport)
        for one in settings.effective_upstreams()
    ]
    health = HealthBoard(shared)
    prober = Prober(health, {u.name: u.ping for u in upstreams}, shared)
    trail = open_trail(settings.audit_url, settings.audit_key_bytes())
    trail.start()
    prober.start()

    def close() -> None:
        forget_tokens()
        measuring.close()
        exporter.close()
        prober.stop()
        trail.close()
        transport.close()
        shared.close()

    guarded: list[Upstream] = [
        _guarded(settings, upstream, shared, health, prober, measuring.breaker_moved)
        for upstream in _repeating(settings, upstreams)
    ]
    gate = _gate(settings)
    breakers = {u.name: CircuitBreaker(u.name, shared) for u in upstreams}
    measuring.watch(
        Watched(
            gate,
            health,
            trail,
            breakers,
            shared,
            audit_files(settings.audit_url),
            settings.workers,
            VERSION,
        )
    )
    audited = _chat(settings, trail, guarded, gate)
    return Services(
        chat=Metered(audited, (measuring.metrics, *exporter.observers)),
        trail=trail,
        records=open_reader(settings.audit_url),
        activity=open_activity(settings.audit_url),
        health=health,
        keyring=keyring,
        upstreams=tuple(u.name for u in upstreams),
        deadline=settings.chat_deadline,
        max_body=settings.max_body,
        close=close,
        stream_mode=StreamMode(settings.stream_mode),
        models=tuple(r.model for r in settings.routes if not is_glob(r.model)),
        rate_limits=rate_limits,
        failed_auth=failed_auth,
        trusted_proxies=settings.trusted_proxies,
        fault_panel=_fault_panel(settings, transport),
        gate=gate,
        breakers=breakers,
        metrics_page=measuring.page,
        metrics_bind=settings.metrics_bind,
        traces=bool(exporter.observers),
    )


def build_upstream(
    one: UpstreamSettings, settings: Settings, transport: Transport
) -> ProbedUpstream:
    """Make the adapter for one entry of the upstreams."""
    if one.kind == "switch":
        return SwitchUpstream(
            name=one.name,
            url=one.url,
            timeout=one.timeout,
            token=_plain_token(settings),
            metadata_allowed=frozenset(settings.metadata_allowed),
            transport=transport,
        )
    if one.kind == "openai":
        return openai_wire.OpenAIUpstream(
            name=one.name,
            url=one.url,
            limits=openai_wire.Limits(
                one.timeout, one.first_token_timeout, one.idle_timeout
            ),
            transport=transport,
            api_key=one.api_key.get_secret_value(),
            model=one.model,
        )
    return MadreUpstream(
        name=one.name, url=one.url, timeout=one.timeout, transport=transport
    )


def _guarded(
    settings: Settings,
    upstream: Upstream,
    shared: SharedState,
    health: HealthBoard,
    prober: Prober,
    listener: Listener,
) -> Guarded:
    one = next(u for u in settings.effective_upstreams() if u.name == upstream.name)
    slow_call = settings.breaker_slow_call if one.slow_call is None else one.slow_call
    rules = Rules(
        failures=settings.breaker_failures,
        ratio=settings.breaker_ratio,
        minimum=settings.breaker_minimum,
        window=settings.breaker_window,
        open_base=settings.breaker_open,
        open_max=settings.breaker_open_max,
        slow_call=slow_call or None,
    )
    breaker = CircuitBreaker(upstream.name, shared, rules, listener=listener)
    health.on_recovery(lambda name: breaker.revive() if name == one.name else None)
    return Guarded(
        upstream,
        health,
        breaker,
        CallCap(one.name, shared, one.concurrency or None),
        inquire=prober.inquire,
        patience=settings.patience,
    )


def _shared(settings: Settings) -> SharedState:
    """What all workers of this instance share; another instance has its own."""
    audit = _audit_folder(settings)
    folders = (settings.shared_dir,) if settings.shared_dir else (MEMORY, audit)
    return open_shared(_identity(settings), folders)


def metrics_folder(settings: Settings) -> Path:
    """Where the workers of this instance count."""
    default = MEMORY if MEMORY.is_dir() else _audit_folder(settings)
    return folder_of(_identity(settings), settings.metrics_dir or default)


def _identity(settings: Settings) -> str:
    """Tell this instance from all others of this host."""
    return f"{settings.audit_url} {_audit_folder(settings)} {settings.bind}"


def _audit_folder(settings: Settings) -> Path:
    return Path(settings.audit_url.partition(":///")[2]).absolute().parent


def _repeating(settings: Settings, upstreams: list[ProbedUpstream]) -> list[Upstream]:
    """The same upstreams; those whose kind allows it are asked again where it helps."""
    allowance = RetryAllowance()
    retries = {one.name: one.retries for one in settings.upstreams}
    return [
        Repeating(upstream, retries[upstream.name], allowance)
        if isinstance(upstream, openai_wire.OpenAIUpstream)
        else upstream
        for upstream in upstreams
    ]


def _router(settings: Settings, upstreams: list[Upstream]) -> ChatRouter:
    return ChatRouter(
        upstreams,
        routes=[Route(route.model, route.upstreams) for route in settings.routes],
        abilities={
            one.name: frozenset(one.abilities)
            for one in settings.upstreams
            if one.kind == "openai"
        },
    )


def _chat(
    settings: Settings, trail: QueuedTrail, upstreams: list[Upstream], gate: Gate
) -> Audited:
    content = Content(settings.audit_content)
    policy = ContentPolicy(content, _redactor(settings), trail.key)
    return Audited(
        Admitted(_router(settings, upstreams), gate, is_short=_memory(settings)),
        trail,
        policy,
        required=settings.audit_mode == "required",
    )


def _memory(settings: Settings) -> Callable[[], bool]:
    if settings.max_memory:
        return Watermark(settings.max_memory * 1_000_000, memory.resident)
    limit = memory.container_limit()
    return Watermark(limit, memory.container_used) if limit else lambda: False


def _gate(settings: Settings) -> Gate:
    return Gate(
        Limits(
            slots=settings.slots,
            queue=settings.queue,
            wait=settings.queue_wait,
            streams=settings.stream_slots,
        )
    )


def _keyring(settings: Settings) -> Keyring | None:
    if settings.auth_mode == "off":
        return None
    return Keyring([Token.of(LINK, _plain_token(settings))])


def _watch_tokens(settings: Settings, keyring: Keyring | None) -> Callable[[], None]:
    """Keep the keyring as the file says; return what ends it."""
    if settings.tokens_file is None or keyring is None:
        return lambda: None
    check_tokens(settings)
    watch = TokenWatch(settings.tokens_file, keyring)
    watch.start()
    return watch.stop


def check_tokens(settings: Settings) -> None:
    """Raise SettingsError with every problem of the file of tokens, if there is one."""
    if settings.tokens_file is None:
        return
    try:
        read_tokens(settings.tokens_file)
    except TokensUnusable as error:
        problems = [f"VX11_TOKENS_FILE: {problem}" for problem in error.problems]
        raise SettingsError(problems) from None


def token_store(path: Path) -> TokenStore:
    """Return the file of tokens, for a command that changes it."""
    return TokenFile(path)


def _fault_panel(settings: Settings, transport: Transport) -> SandboxControl | None:
    urls = settings.sandbox_control
    return SandboxControl(urls, transport) if urls else None


def _plain_token(settings: Settings) -> str:
    return settings.token.get_secret_value() if settings.token else ""


def log_redactor(settings: Settings) -> Callable[[str], str]:
    """What every log line goes through."""
    return _redactor(settings).text


def _redactor(settings: Settings) -> Redactor:
    keys = [one.api_key.get_secret_value() for one in settings.upstreams]
    audit_key = (settings.audit_key_bytes() or b"").decode()
    return Redactor((_plain_token(settings), audit_key, *keys))


def open_records(settings: Settings) -> Records:
    """Return the read side of the audit, for a command without a gateway."""
    return open_reader(settings.audit_url)


def verify_records(settings: Settings) -> Verification:
    """Check the whole hash chain; works while the gateway writes."""
    return verify_trail(settings.audit_url, key=settings.audit_key_bytes())


def run_post_task(settings: Settings, seconds: float) -> str:
    """Ask every madre for its maintenance, once; return what the last one said.

    Raises an UpstreamError if one does not do it.
    """
    transport = Transport(verify=str(settings.tls_ca) if settings.tls_ca else True)
    said = "there is no madre"
    for one in settings.effective_upstreams():
        upstream = build_upstream(one, settings, transport)
        if isinstance(upstream, MadreUpstream):
            said = upstream.post_task(Budget(seconds))
    transport.close()
    return said


default_services = PerProcess(lambda: build_services(load()))
