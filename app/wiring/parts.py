"""Parts: what is made of the settings alone, each for itself."""

import itertools
import ssl
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from urllib.parse import urlsplit

from app.gateway.abilities import IMAGES
from app.gateway.access.persons import PersonRules
from app.gateway.chain.admission_queue import AdmissionQueue, Limits
from app.gateway.chain.big_work import BigWork
from app.gateway.chain.memory_limit import Watermark
from app.gateway.guard.circuit import Rules
from app.gateway.records.content import Content, ContentPolicy, Decide
from app.gateway.records.redaction import Redactor
from app.gateway.routing.models import Model, Models
from app.gateway.routing.router import ChatRouter
from app.gateway.routing.routes import Route
from app.gateway.shared import SharedState
from app.gateway.turns import Candidate
from app.host.files import shown_path
from app.services import READERS, Whereabouts
from app.settings import Settings, SettingsError, UpstreamSettings, told_at
from app.storage.audit.errors import NoKey
from app.storage.backend import AuditBackend
from app.storage.chain.retention import Keep
from app.storage.shared.shared_memory import MEMORY, open_shared
from app.storage.trail import BACKENDS, Backends, open_backend
from app.telemetry.host import container_memory as memory
from app.telemetry.metrics.directory import folder_of
from app.upstreams import KINDS, Kinds
from app.upstreams.dialect import Dialect, Surroundings
from app.upstreams.http.transport import Transport
from app.wiring.keys import has_several_callers, plain_tokens

Upstreams = Mapping[str, Dialect]

DAY = 86400.0  # seconds
# Seconds of a write after which slots are kept for those who wait for it. A busy disk
# takes less; and so few chats end within it that the spare threads are enough for them.
SLOW_COMMIT = 0.25
# Bytes of a body. A photo of 15 MB, in base64; words need less.
PHOTOS, WORDS = 20 * 1024 * 1024, 1024 * 1024


def transport(settings: Settings) -> Transport:
    """Make the way to all upstreams. Raises SettingsError for a bad CA bundle."""
    verify = str(settings.tls_ca) if settings.tls_ca else True
    try:
        return Transport(verify=verify, pool_size=settings.threads)
    except OSError as error:
        is_there = isinstance(error, ssl.SSLError) or error.strerror is None
        reason = "holds no certificates" if is_there else error.strerror
        words = f"{shown_path(settings.tls_ca or Path())}: {reason}"
        raise SettingsError([told_at("tls_ca", words)]) from None


def upstreams(
    settings: Settings, transport: Transport, kinds: Kinds = KINDS
) -> Upstreams:
    """Make all upstreams, by name, in their order.

    Raises SettingsError as `require_kinds` does.
    """
    require_kinds(settings, kinds)
    surroundings = Surroundings(
        transport, _plain_token(settings), frozenset(settings.metadata_allowed)
    )
    return {
        entry.name: kinds[entry.kind].from_settings(entry, surroundings)
        for entry in settings.effective_upstreams()
    }


def require_kinds(settings: Settings, kinds: Kinds = KINDS) -> None:
    """Raise SettingsError for a kind of upstream that there is not, or a foreign key.

    A key that some dialects declare as their own is foreign to all others.
    """
    entries = [(one.kind, one.model_fields_set) for one in settings.upstreams]
    if problems := problems_of_kinds(entries, kinds):
        raise SettingsError(problems)


def problems_of_kinds(
    entries: Iterable[tuple[str | None, Collection[str]]], kinds: Kinds = KINDS
) -> list[str]:
    """What `require_kinds` says of upstreams, given the kind and the keys of each.

    Of one whose kind is None nothing is said.
    """
    return [
        told_at("upstreams", words, number, key)
        for number, (kind, keys) in enumerate(entries)
        if kind is not None
        for key, words in _problems_of_kind(kind, keys, kinds)
    ]


def _problems_of_kind(
    kind: str, keys: Collection[str], kinds: Kinds
) -> Iterator[tuple[str, str]]:
    """Each key that is wrong, and why."""
    if kind not in kinds:
        yield "kind", f"must be one of {', '.join(kinds)}"
        return
    for key in sorted(keys):
        owners = [one for one, dialect in kinds.items() if key in dialect.own_settings]
        if owners and kind not in owners:
            yield key, f"only for kind {' or '.join(owners)}"


def max_body(settings: Settings, upstreams: Upstreams) -> int:
    """Bytes of the largest body that is read: a photo's where somebody takes photos."""
    takes_images = any(IMAGES in one.abilities for one in upstreams.values())
    return settings.max_body or (PHOTOS if takes_images else WORDS)


def person_rules(settings: Settings) -> PersonRules:
    """How a caller who may name people does so."""
    return PersonRules(
        settings.person_headers, settings.session_headers, settings.person_rate
    )


def ports(settings: Settings) -> dict[str, int]:
    """The port of each upstream, by name."""
    urls = {one.name: urlsplit(one.url) for one in settings.effective_upstreams()}
    return {
        name: url.port or (443 if url.scheme == "https" else 80)
        for name, url in urls.items()
    }


def whereabouts(settings: Settings) -> dict[str, Whereabouts]:
    """What each upstream speaks, and where, by name."""
    return {
        one.name: Whereabouts(one.kind, one.url)
        for one in settings.effective_upstreams()
    }


def rules(settings: Settings, one: UpstreamSettings) -> Rules:
    """When the circuit of an upstream opens, and for how long."""
    slow_call = settings.breaker_slow_call if one.slow_call is None else one.slow_call
    return Rules(
        failures=settings.breaker_failures,
        ratio=settings.breaker_ratio,
        min_calls=settings.breaker_min_calls,
        window=settings.breaker_window,
        open_base=settings.breaker_open,
        open_max=settings.breaker_open_max,
        slow_call=slow_call or None,
    )


def router(
    settings: Settings, guards: list[Candidate], upstreams: Upstreams
) -> ChatRouter:
    """Make the router of these guarded upstreams, in their order."""
    return ChatRouter(
        guards,
        routes=[Route(route.model, route.upstreams) for route in settings.routes],
        abilities={name: one.abilities for name, one in upstreams.items()},
        tasks={name: one.serves for name, one in upstreams.items()},
    )


def models(settings: Settings) -> Models:
    """Make the list of what callers may name: routes, then upstreams.

    What a route can read is what each of its upstreams can, as far as that is known.
    """
    lengths = {one.name: one.context_length for one in settings.effective_upstreams()}
    routes = (
        Model(
            route.model,
            route.context_length or _least(map(lengths.get, route.upstreams)),
        )
        for route in settings.routes
    )
    return Models([*routes, *itertools.starmap(Model, lengths.items())])


def _least(lengths: Iterable[int | None]) -> int:
    return min(filter(None, lengths), default=0)


def gate(settings: Settings) -> AdmissionQueue:
    """Make the gate of one process."""
    return AdmissionQueue(
        Limits(
            slots=settings.slots,
            queue=settings.queue,
            wait=settings.queue_wait,
            streams=settings.stream_slots,
            is_shared=has_several_callers(settings),
        )
    )


def readers(settings: Settings) -> AdmissionQueue:
    """Make the places of those who read the records."""
    return AdmissionQueue(replace(READERS, is_shared=has_several_callers(settings)))


def memory_is_short(settings: Settings) -> Callable[[], bool]:
    """Make what tells that a process had better take on nothing more."""
    if settings.max_memory:
        return Watermark(settings.max_memory * 1_000_000, memory.resident)
    if (found := memory.container_limit()) is None:
        return lambda: False
    group, limit = found
    return Watermark(limit, lambda: memory.container_used(group))


def content_policy(
    settings: Settings, key: Callable[[], bytes], big_work: BigWork, decide: Decide
) -> ContentPolicy:
    """Make what decides how much of a chat is stored."""
    content = Content(settings.audit_content)
    return ContentPolicy(content, redactor(settings), key, big_work, decide)


def redactor(settings: Settings) -> Redactor:
    """Make what takes secrets out of records and logs."""
    keys = [one.api_key.get_secret_value() for one in settings.upstreams]
    audit_key = (settings.audit_key_bytes() or b"").decode()
    return Redactor((*plain_tokens(settings), audit_key, *keys))


def audit(settings: Settings, backends: Backends = BACKENDS) -> AuditBackend:
    """Make the place of the audit records. Raises SettingsError for a URL of none."""
    try:
        return open_backend(settings.audit_url, settings.audit_key_bytes(), backends)
    except NoKey as error:
        raise SettingsError([told_at("audit_key", str(error))]) from None
    except ValueError as error:
        raise SettingsError([told_at("audit_url", str(error))]) from None


def keep(settings: Settings) -> Keep:
    """For how long words and records are kept, in seconds."""
    words, records = settings.keep_words, settings.keep_records
    return Keep(DAY * (words or inf), DAY * (records or inf))


def shared(settings: Settings, backends: Backends = BACKENDS) -> SharedState:
    """Open what all workers of this instance share; another instance has its own."""
    state = state_dir(settings, backends)
    folders = (settings.shared_dir,) if settings.shared_dir else (MEMORY, state)
    return open_shared(_identity(settings, state), folders)


def metrics_folder(settings: Settings, backends: Backends = BACKENDS) -> Path:
    """Where the workers of this instance count."""
    state = state_dir(settings, backends)
    default = MEMORY if MEMORY.is_dir() else state
    return folder_of(_identity(settings, state), settings.metrics_dir or default)


def _identity(settings: Settings, state: Path) -> str:
    """Tell this instance from all others of this host."""
    where = state if settings.state_dir else f"{settings.audit_url} {state}"
    return f"{where} {settings.bind}"


def state_dir(settings: Settings, backends: Backends = BACKENDS) -> Path:
    """The folder in which this instance keeps what is its own.

    Raises SettingsError if none is named.
    """
    folder = settings.state_dir or audit(settings, backends).folder
    if folder is None:
        words = "must be set with this VX11_AUDIT_URL"
        raise SettingsError([told_at("state_dir", words)])
    return folder.absolute()


def _plain_token(settings: Settings) -> str:
    return settings.token.get_secret_value() if settings.token else ""
