"""Instruments: every metric there is, with its labels; the only place of their names.

`gen_ai_*` are those of OpenTelemetry's conventions for generative AI (status:
development, so the names may change, but only here), `gateway_*` are ours. Labels
are few and closed: upstreams and doors that are configured, words of
`gateway/error_types.py`, never an id, a path or a word of a caller.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Counter:
    """Only ever grows; it survives the process that counted."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a value fell below each bound; survives as a counter does."""

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]


class Merge(Enum):
    """What the gauges of several living workers make together."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True)
class Gauge:
    """How things stand in the workers that live."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = Merge.MAX


Instrument = Counter | Histogram | Gauge

# OpenTelemetry's bounds for these durations, and those that alerts ask about.
_SECONDS = tuple(0.01 * 2**n for n in range(14))
_ANSWERS = tuple(sorted({*_SECONDS, 1.0, 5.0}))
_TOKENS = tuple(4.0**n for n in range(14))
_OWN_WORK = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
_WAITS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_OVERSHOOTS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)  # 0.25 is what is promised

PROVIDER, ERROR_TYPE = "gen_ai_provider_name", "error_type"
OPERATION = "gen_ai_operation_name"

REQUESTS = Counter(
    "gateway_requests_total",
    "Chats of known callers, by door, who answered, and how it ended.",
    ("route", "provider", "outcome", "degraded"),
)
ERRORS = Counter(
    "gateway_errors_total",
    "Chats that did not end with an answer, by whose fault it was.",
    (ERROR_TYPE,),
)
FALLBACKS = Counter(
    "gateway_fallbacks_total",
    "Upstreams that were asked because another one failed, or was passed over.",
    ("from", "to", "reason"),
)
RETRIES = Counter(
    "gateway_retries_total",
    "Upstreams that were asked once more, by what went wrong before.",
    ("upstream", "reason"),
)
SHED = Counter(
    "gateway_shed_total",
    "Chats that were refused because too many were there.",
    ("priority", "reason"),
)
REPLAYS = Counter(
    "gateway_replays_total",
    "Chats on record that an operator asked again; no other series counts them.",
    ("upstream", "outcome"),
)
STREAM_ENDS = Counter(
    "gateway_stream_end_total", "Streams that are over, by how.", ("reason",)
)
AUTH_FAILURES = Counter(
    "gateway_auth_failures_total", "Requests without a valid token.", ("reason",)
)
BREAKER_TRANSITIONS = Counter(
    "gateway_breaker_transitions_total",
    "Changes of a circuit breaker's state.",
    ("upstream", "to"),
)
AUDIT_FAILURES = Counter(
    "gateway_audit_failures_total", "Chats whose record could not be committed."
)
CACHE = Counter(
    "gateway_cache_total",
    "Answers where answers are cached: hit, joined (waited for a twin), miss, bypass.",
    ("result",),
)
IDEMPOTENCY = Counter(
    "gateway_idempotency_total",
    "Chats with an Idempotency-Key: answered, repeated, or failed.",
    ("result",),
)
METRIC_FAILURES = Counter(
    "gateway_metric_failures_total", "Chats that could not be measured: a bug."
)

LOG_LINES_LOST = Counter(
    "gateway_log_lines_lost_total", "Log lines that could not be written."
)
SHARED_ALONE = Counter(
    "gateway_shared_alone_total",
    "Changes that a worker could not share with the others.",
)
SERIES_LOST = Counter(
    "gateway_metric_series_lost_total", "Series for which there was no room: a bug."
)

CLIENT_DURATION = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "Each attempt at an upstream, until its reply was over.",
    (OPERATION, PROVIDER, ERROR_TYPE),
    _SECONDS,
)
SERVER_DURATION = Histogram(
    "gen_ai_server_request_duration_seconds",
    "Chats, from when the front door took them until they were over.",
    (OPERATION, PROVIDER, ERROR_TYPE, "degraded"),
    _ANSWERS,
)
FIRST_TOKEN = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "Streamed chats, from when the front door took them until the reply began.",
    (OPERATION, PROVIDER),
    _SECONDS,
)
TOKENS = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of a chat, as its upstream counted them.",
    (OPERATION, PROVIDER, "gen_ai_token_type"),
    _TOKENS,
)
OVERHEAD = Histogram(
    "gateway_overhead_seconds",
    "The gateway's own part of a chat: neither queue nor upstream.",
    (),
    _OWN_WORK,
)
QUEUE_WAIT = Histogram(
    "gateway_queue_wait_seconds",
    "Chats, from when the front door took them until they were worked on.",
    ("priority",),
    _WAITS,
)
AUDIT_COMMIT = Histogram(
    "gateway_audit_commit_seconds",
    "How long chats waited for their record to be committed.",
    (),
    _OWN_WORK,
)
OVERSHOOT = Histogram(
    "gateway_deadline_overshoot_seconds",
    "Chats that were over after their deadline, by how much.",
    (),
    _OVERSHOOTS,
)

BREAKER_STATE = Gauge(
    "gateway_breaker_state", "0 closed, 1 half-open, 2 open.", ("upstream",)
)
HEALTHY = Gauge(
    "gateway_upstream_healthy",
    "1 if the upstream was alive when last asked; absent while unknown.",
    ("upstream",),
    Merge.MIN,
)
STATE = Gauge("gateway_state", "0 well, 1 degraded, 2 refusing.")
TOKENS_STALE = Gauge(
    "gateway_tokens_stale",
    "1 while the file of tokens has mistakes, and the tokens of before hold.",
)
TROUBLE = Gauge(
    "gateway_trouble",
    "1 while the status gives this reason, of those that no other gauge tells.",
    ("reason",),
)
STREAMS_ACTIVE = Gauge(
    "gateway_streams_active", "Streams that are being sent.", merge=Merge.SUM
)
SLOTS_IN_USE = Gauge(
    "gateway_slots_in_use", "Chats that are being worked on.", merge=Merge.SUM
)
SLOTS = Gauge("gateway_slots", "Chats that may be worked on at once.", merge=Merge.SUM)
QUEUE_LENGTH = Gauge(
    "gateway_queue_length", "Chats that wait for a slot.", merge=Merge.SUM
)
AUDIT_UNAVAILABLE = Gauge(
    "gateway_audit_unavailable", "1 while no record can be committed."
)
AUDIT_UNSIGNED = Gauge(
    "gateway_audit_unsigned_records",
    "Open records of dead workers that do not carry our signature.",
)
AUDIT_WAL = Gauge("gateway_audit_wal_bytes", "Size of the audit's write-ahead log.")
AUDIT_FREE = Gauge(
    "gateway_audit_free_bytes", "Free space where the audit is.", merge=Merge.MIN
)
ANSWERS_BYTES = Gauge(
    "gateway_answers_bytes",
    "Size of the kept answers; absent until one was looked for.",
)
WORKERS = Gauge(
    "gateway_workers", "Worker processes that are measured.", merge=Merge.SUM
)
WORKERS_EXPECTED = Gauge("gateway_workers_expected", "Worker processes as configured.")
BUILD = Gauge("gateway_build_info", "Always 1; its label is the version.", ("version",))

INSTRUMENTS: tuple[Instrument, ...] = tuple(
    value
    for value in list(globals().values())
    if isinstance(value, Counter | Histogram | Gauge)
)
