"""The model of all settings: names, types, defaults, and what each may be."""

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
)

from app.gateway.access.tokens import DEFAULTS
from app.gateway.guard.prober import PROBE_LIMIT
from app.settings.conflicts import SPARE_THREADS
from app.settings.entries import (
    Bind,
    Concurrency,
    Days,
    Header,
    Health,
    LoopbackUrl,
    Origin,
    RouteSettings,
    Seconds,
    UpstreamSettings,
    Url,
)
from app.settings.names import PREFIX, RENAMED
from app.telemetry.host.cores import usable_cores

LONGEST_QUEUE = 24  # a place in a longer queue is not reached in time (docs/limits.md)
MOST_WORKERS = 256
LONGEST_OPEN = 20.0  # seconds; an open circuit only chooses, so it may be short
LONGEST_GRACE = 3600.0  # seconds, as of every other time
STREAM_DEADLINE = 600.0  # seconds; a reasoning model's longest answers end before
MOST_BODY = 67_108_864  # bytes; each thread may hold one before it has a slot
MIN_AUDIT_KEY = 16  # guessing one signs a chain of lies, and needs no gateway for it
MIN_TOKEN = 8  # shorter ones are guessed; `python -m app token new` makes 43


def _default_queue(threads: int) -> int:
    """A quarter of 64 threads, less of fewer, none where there are none to spare."""
    return max(0, min(LONGEST_QUEUE, (threads - SPARE_THREADS) * 2 // 7))


def _default_slots(known: dict[str, Any]) -> int:
    left: int = known["threads"] - known["queue"] - SPARE_THREADS
    return max(1, left)


def _renamed(name: str) -> AliasChoices:
    """The names of a setting that had another one, in the order of their weight."""
    before = next(old for old, new in RENAMED.items() if new == name)
    variables = (f"{PREFIX}{setting.upper()}" for setting in (name, before))
    return AliasChoices(*variables, name)


class Settings(BaseModel):
    """All settings, frozen. Built by `load`; threads and processes may share it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "VX11_TENTACULO_LINK_TOKEN", "VX11_OPERATOR_TOKEN", "token"
        ),
        description="The token that callers show, and that is shown to switch. Its key "
        "in the TOML file is `token`.",
    )
    operator_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("VX11_OPERATOR_TOKEN", "operator_token"),
        description="One more token that callers may show: tentaculo_link adds its own "
        "VX11_OPERATOR_TOKEN to what its callers show, which may differ.",
    )
    auth_mode: Literal["token", "off"] = Field(
        default="token",
        description="`off` lets every caller in. For a closed lab only.",
    )
    switch_url: Url = Field(
        default="http://switch:8002",
        description="Where switch, the primary, listens. Like all VX11_SWITCH_* and "
        "VX11_MADRE_*, without effect where [[upstreams]] are listed.",
    )
    madre_url: Url = Field(
        default="http://madre:8001", description="Where madre, the fallback, listens."
    )
    switch_timeout: Seconds = Field(
        default=30.0, description="Longest a call to switch may take, in seconds."
    )
    madre_timeout: Seconds = Field(
        default=5.0, description="Longest a call to madre may take, in seconds."
    )
    switch_concurrency: Concurrency = Field(
        default=0,
        description="Calls that switch gets at once from this host; 0: any number.",
    )
    madre_concurrency: Concurrency = Field(
        default=8,
        description="Calls that madre gets at once from this host; 0: any number.",
    )
    switch_health: Health = Field(
        default="",
        description="Path on switch's server that tells whether it is alive, from the "
        "first `/` on; `none`: it is never asked and never thought to hang; default: "
        "VX11_SWITCH_URL and `/health`.",
    )
    madre_health: Health = Field(
        default="",
        description="The same for madre; default: VX11_MADRE_URL and `/health`.",
    )
    hang_check_after: Seconds = Field(
        default=3.0,
        validation_alias=_renamed("hang_check_after"),
        description="After so many seconds of silence an upstream is asked for its "
        "health; if that does not answer within VX11_PROBE_TIMEOUT, the next upstream "
        "is tried. An upstream whose timeout is not longer than this is never asked "
        "in this way.",
    )
    probe_timeout: Seconds = Field(
        default=PROBE_LIMIT,
        description="Longest that an upstream's health may take to answer, in seconds; "
        "one that takes longer is thought to be down.",
    )
    breaker_failures: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="So many failures in a row open an upstream's circuit; those of "
        "one caller alone open it for that caller only. A time limit that was met "
        "counts a quarter.",
    )
    breaker_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="So large a share of failures opens it too.",
    )
    breaker_min_calls: int = Field(
        default=10,
        validation_alias=_renamed("breaker_min_calls"),
        ge=1,
        le=10_000,
        description="Calls in the window below which their share means nothing.",
    )
    breaker_window: Seconds = Field(
        default=30.0, description="Seconds in which calls are counted for the share."
    )
    breaker_open: Seconds = Field(
        default=1.0,
        description="Longest that a circuit is open at first, in seconds; doubled at "
        "each further opening, and each time a random part of it.",
    )
    breaker_open_max: Seconds = Field(
        default_factory=lambda known: max(LONGEST_OPEN, known["breaker_open"]),
        description="Longest that a circuit is ever open, in seconds; default: 20, or "
        "VX11_BREAKER_OPEN if that is more. Short, since an open circuit only chooses: "
        "where nobody else answers, that upstream is asked all the same.",
    )
    breaker_slow_call: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="A call that takes longer counts as a failure, in seconds; "
        "0: none does. A long answer is slow too, so this is for upstreams whose "
        "answers are all short.",
    )
    shared_dir: Path | None = Field(
        default=None,
        description="Folder, in memory if possible, of the file that workers share; "
        "default: /dev/shm, else VX11_STATE_DIR.",
    )
    chat_deadline: Seconds = Field(
        default=36.0,
        description="Longest a chat may take in all, in seconds: queue, every "
        "attempt, fallback and record; of a live stream, its beginning. A caller may "
        "ask for less.",
    )
    stream_deadline: Seconds = Field(
        default_factory=lambda known: max(STREAM_DEADLINE, known["chat_deadline"]),
        description="Longest a live stream may take in all, in seconds, once its words "
        "flow; default: 600, or the chat deadline if that is more.",
    )
    metadata_allowed: tuple[str, ...] = Field(
        default=("task_type", "language_lane"),
        description="The caller's metadata keys that are forwarded to switch; "
        "others are only recorded. A JSON list.",
    )
    tls_ca: Path | None = Field(
        default=None,
        description="CA bundle for upstreams over TLS; default: certifi's.",
    )
    max_body: int | None = Field(
        default=None,
        ge=1024,
        le=MOST_BODY,
        description="Largest request body that is read, in bytes; default: 1 MiB "
        "(1048576), or 20 MiB (20971520) where an upstream takes images. nginx has a "
        "limit of its own (`client_max_body_size`).",
    )
    tokens_file: Path | None = Field(
        default=None,
        description="TOML file of more tokens, with scopes, class, rate and expiry; "
        "`python -m app token` makes and revokes them. Changes need no restart.",
    )
    person_headers: tuple[Header, ...] = Field(
        default=("X-OpenWebUI-User-Id",),
        description="Headers, the first goes first, in which a token with "
        "`names_people` names the person it speaks for; else the body's `user` does. A "
        "JSON list.",
    )
    session_headers: tuple[Header, ...] = Field(
        default=("X-OpenWebUI-Chat-Id", "X-Session-Id"),
        description="The same for the session. A JSON list.",
    )
    person_rate: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Requests a minute for each person that a token names; default: no "
        "limit but the token's.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=("127.0.0.1", "::1", "unix"),
        description="Whose X-Forwarded-For names the source address of a caller: "
        "addresses, networks, or `unix` for a socket. A JSON list.",
    )
    cors_origins: tuple[Origin, ...] = Field(
        default=(),
        description="Origins whose pages may ask chats from a browser "
        "(`https://app.example`), `*` for any; by default none. A JSON list.",
    )
    stream_mode: Literal["live", "verified", "continue"] = Field(
        default="live",
        description="`live`: words are handed on as they come, and a stream that "
        "cannot be made whole ends with an error. `verified`: they are held until "
        "the answer is complete. `continue`: a stream that breaks is gone on with by "
        "the next upstream with the ability `prefill`, from the last word on, in its "
        "own words. A caller may choose by X-Gateway-Stream-Mode.",
    )
    audit_url: str = Field(
        default="sqlite:///var/audit.db",
        description="Where records are kept: `sqlite:///` and the path of a file (a "
        "relative one goes by the folder that the process is started in; an absolute "
        "one makes four slashes), or, for several hosts, "
        "`postgresql://USER:PASSWORD@HOST/DATABASE` (docs/several-hosts.md).",
    )
    state_dir: Path | None = Field(
        default=None,
        description="Folder of this instance: its path tells the instance from others "
        "on the host, and what workers share and count is kept there where /dev/shm "
        "is missing. Default: the audit database's folder; to be set with PostgreSQL.",
    )
    audit_mode: Literal["required", "best_effort"] = Field(
        default="required",
        description="`required`: no answer without a committed record. "
        "`best_effort`: answer even so; break-glass for a broken disk.",
    )
    audit_content: Literal["full", "digest", "none"] = Field(
        default="full",
        description="What a record keeps of the words: redacted text, a keyed digest "
        "and the length, or nothing.",
    )
    audit_key: SecretStr | None = Field(
        default=None,
        description="Key of the hash chain, of at least 16 characters; default: a key "
        "file beside the database. With PostgreSQL it must be set, alike on all hosts.",
    )
    anchor_file: Path | None = Field(
        default=None,
        description="File to which the head of the records' chain is added once a "
        "minute, as it goes to the log. Kept where who can write to the records cannot "
        "(another mount, `chattr +a`), it shows that they were put back or made anew: "
        "`records verify --anchors`.",
    )
    keep_words: Days | None = Field(
        default=None,
        description="Days after which the words of a record, question and answer, are "
        "erased; who asked when, and who answered, stays. Default: never.",
    )
    keep_records: Days | None = Field(
        default=None,
        description="Days after which whole records are deleted. Default: never.",
    )
    cache_ttl: float = Field(
        default=0.0,
        ge=0,
        le=86_400,
        description="Seconds for which the answer to a question is given again to the "
        "caller who asked it, when the same is asked; 0: never. `cache` of a route "
        "goes before it. 60 is a good value. Never kept: errors, answers of a "
        "fallback, answers that were cut or filtered, and those that are left to "
        "chance (a `temperature` above 0, `n` above 1) unless the request says "
        "`Cache-Control: max-age=…`.",
    )
    idempotency_ttl: float = Field(
        default=86_400.0,
        ge=0,
        le=604_800,
        description="Seconds for which the answer to a request with an "
        "`Idempotency-Key` is given again to whoever shows the key; 0: the header is "
        "not heeded.",
    )
    keep_bytes: int = Field(
        default=268_435_456,
        ge=1_048_576,
        le=68_719_476_736,
        description="Bytes that the answers kept for both of these take in the audit "
        "database at most, for all workers together; of the caller who has the most, "
        "those that would expire soonest go first.",
    )
    bind: Bind = Field(
        default="127.0.0.1:8011",
        description="Where the gateway listens: HOST:PORT or unix:PATH.",
    )
    workers: int = Field(
        default_factory=lambda: min(usable_cores(), MOST_WORKERS),
        ge=1,
        le=MOST_WORKERS,
        description="Worker processes; default: the number of cores that the process "
        "may use, by affinity and by the CPU limit of its container, rounded up.",
    )
    threads: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Request threads of each worker; at least slots + queue + 8.",
    )
    queue: int = Field(
        default_factory=lambda known: _default_queue(known["threads"]),
        ge=0,
        description="Chats of a worker that may wait for a slot; default: a quarter "
        "of the threads, at most 24.",
    )
    slots: int = Field(
        default_factory=_default_slots,
        ge=1,
        description="Chats that a worker works on at once; default: the threads less "
        "the queue and 8.",
    )
    stream_slots: int = Field(
        default_factory=lambda known: max(1, known["slots"] * 3 // 4),
        ge=1,
        description="How many of the slots streams may hold; default: three quarters.",
    )
    queue_wait: Seconds = Field(
        default=3.0,
        description="Longest a chat may wait for a slot, in seconds, the time at the "
        "front door included.",
    )
    grace: Seconds = Field(
        default_factory=lambda known: min(LONGEST_GRACE, known["chat_deadline"] + 2),
        description="Longest that a stopping worker lets its chats go on, in seconds; "
        "default: the chat deadline and 2. Less is allowed, for quick stops: what does "
        "not end in time is then answered 503 `shutting_down`, and on record so.",
    )
    max_memory: int = Field(
        default=0,
        ge=0,
        description="Megabytes that a worker may hold before it takes on no chats; 0: "
        "nobody does once the container holds 90 % of its limit, if it has one.",
    )
    metrics_bind: Bind | None = Field(
        default=None,
        description="Where /metrics, and nothing else, is served without a token: "
        "HOST:PORT or unix:PATH; default: only at VX11_BIND, with a token.",
    )
    metrics_dir: Path | None = Field(
        default=None,
        description="Folder, in memory if possible, in which each instance makes one "
        "for its counts; default: /dev/shm, else VX11_STATE_DIR.",
    )
    otlp_endpoint: Url | None = Field(
        default=None,
        description="OpenTelemetry collector (OTLP over HTTP) to which traces are "
        "sent; default: nowhere. Needs the packages opentelemetry-sdk and "
        "opentelemetry-exporter-otlp-proto-http.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe level that is logged."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto",
        description="`json`: an object a line; `text`: short coloured lines; "
        "`auto`: text where the standard error is a terminal, else JSON.",
    )
    sandbox_page: LoopbackUrl | None = Field(
        default=None,
        description="Where the sandbox's Break it page is, to which the console "
        "links. Set by `run` when it starts the sandbox.",
    )
    upstreams: tuple[UpstreamSettings, ...] = Field(
        default=(),
        description="`[[upstreams]]` of the TOML file, in the order of asking; "
        "default: switch, then madre.",
    )
    routes: tuple[RouteSettings, ...] = Field(
        default=(),
        description="`[[routes]]` of the TOML file: a `model`, by name or glob, and "
        "its own `upstreams`, in the order of asking; default: all, in their order.",
    )

    @field_validator("token", "operator_token")
    @classmethod
    def _token_is_usable(cls, token: SecretStr | None) -> SecretStr | None:
        value = token.get_secret_value() if token else ""
        if token and not (MIN_TOKEN <= len(value) <= 200 and value.isascii()):
            raise ValueError(f"must be {MIN_TOKEN} to 200 ASCII characters")
        if token and ("," in value or not value.isprintable() or " " in value):
            raise ValueError("must not hold commas, spaces or control characters")
        return token

    @field_validator("token", "operator_token")
    @classmethod
    def _token_is_no_example(cls, token: SecretStr | None) -> SecretStr | None:
        if token and token.get_secret_value().lower() in DEFAULTS:
            raise ValueError("is the word of an example; make one of your own")
        return token

    @field_validator(
        "cors_origins",
        "metadata_allowed",
        "person_headers",
        "session_headers",
        "trusted_proxies",
        "upstreams",
        "routes",
        mode="before",
    )
    @classmethod
    def _is_json(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given)
        except ValueError:
            raise ValueError("must be a list (in a variable: as JSON)") from None

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for proxy in set(proxies) - {"unix"}:
                ip_network(proxy)
        except ValueError:
            raise ValueError("must be addresses, networks or `unix`") from None
        return proxies

    @field_validator("audit_key")
    @classmethod
    def _audit_key_is_long(cls, key: SecretStr | None) -> SecretStr | None:
        if key and len(key.get_secret_value()) < MIN_AUDIT_KEY:
            raise ValueError(f"must be at least {MIN_AUDIT_KEY} characters")
        return key

    @field_validator("audit_url")
    @classmethod
    def _audit_has_a_scheme(cls, url: str) -> str:
        if not re.match(r"[a-z][a-z0-9+.-]*:", url):
            raise ValueError("must be a URL: sqlite:/// and the path of a file")
        return url

    def effective_upstreams(self) -> tuple[UpstreamSettings, ...]:
        """The upstreams to ask, in order: those listed, else switch and madre."""
        return self.upstreams or (
            UpstreamSettings(
                name="switch",
                kind="switch",
                url=self.switch_url,
                timeout=self.switch_timeout,
                concurrency=self.switch_concurrency,
                health=self.switch_health,
            ),
            UpstreamSettings(
                name="madre",
                kind="madre",
                url=self.madre_url,
                timeout=self.madre_timeout,
                concurrency=self.madre_concurrency,
                health=self.madre_health,
            ),
        )

    def audit_key_bytes(self) -> bytes | None:
        """The key of the hash chain; None for the one in the file."""
        return self.audit_key.get_secret_value().encode() if self.audit_key else None
