"""Settings: everything an operator can choose, read once and validated.

The only reader of the environment. Values come from `VX11_*` variables, then from
the TOML file named by `VX11_CONFIG`, then from the defaults here.
"""

import os
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as NotJson,
)

from app.gateway.tokens import DEFAULTS
from app.settings_entries import (
    BIND,
    Concurrency,
    LoopbackUrl,
    Name,
    RouteSettings,
    Seconds,
    UpstreamSettings,
    Url,
)
from app.settings_problems import PREFIX, SettingsError, not_json, problems_of

__all__ = ["Settings", "SettingsError", "UpstreamSettings", "load"]

SPARE_THREADS = 8  # what says "no" and answers health while all places are taken
LONGEST_QUEUE = 24  # a place in a longer queue is not reached in time (pitfalls 2.13)
MIN_TOKEN = 8  # shorter ones are guessed; `python -m app token new` makes 43


def _default_queue(threads: int) -> int:
    """A quarter of 64 threads, less of fewer, none where there are none to spare."""
    return max(0, min(LONGEST_QUEUE, (threads - SPARE_THREADS) * 2 // 7))


def _default_slots(known: dict[str, Any]) -> int:
    left: int = known["threads"] - known["queue"] - SPARE_THREADS
    return max(1, left)


class Settings(BaseSettings):
    """All settings, frozen. Built by `load`; threads and processes may share it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid"
    )

    token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "VX11_TENTACULO_LINK_TOKEN", "VX11_OPERATOR_TOKEN", "token"
        ),
        description="The token that callers show, and that is shown to switch.",
    )
    auth_mode: Literal["token", "off"] = Field(
        default="token",
        description="`off` lets every caller in. For a closed lab only.",
    )
    switch_url: Url = Field(
        default="http://switch:8002", description="Where switch, the primary, listens."
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
    patience: Seconds = Field(
        default=3.0,
        description="After so many seconds of silence an upstream is asked for its "
        "health; if that does not answer within 2, the next upstream is tried.",
    )
    breaker_failures: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="So many failures in a row open an upstream's circuit.",
    )
    breaker_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="So large a share of failures opens it too.",
    )
    breaker_minimum: int = Field(
        default=10,
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
        default=60.0, description="Longest that a circuit is ever open, in seconds."
    )
    breaker_slow_call: float = Field(
        default=20.0,
        ge=0,
        le=3600,
        description="A call that takes longer counts as a failure, in seconds; "
        "0: none does.",
    )
    shared_dir: Path | None = Field(
        default=None,
        description="Folder, in memory if possible, of the file that workers share; "
        "default: /dev/shm, else the audit database's.",
    )
    chat_deadline: Seconds = Field(
        default=36.0,
        description="Longest a chat may take in all, in seconds: queue, every "
        "attempt, fallback and record. A caller may ask for less.",
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
    max_body: int = Field(
        default=1_048_576,
        ge=1024,
        le=16_777_216,
        description="Largest request body that is read, in bytes.",
    )
    tokens_file: Path | None = Field(
        default=None,
        description="TOML file of more tokens, with scopes, class, rate and expiry; "
        "`python -m app token` makes and revokes them. Changes need no restart.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=("127.0.0.1", "::1", "unix"),
        description="Whose X-Forwarded-For names the source address of a caller: "
        "addresses, networks, or `unix` for a socket. A JSON list.",
    )
    stream_mode: Literal["live", "verified"] = Field(
        default="live",
        description="`live`: words are handed on as they come, and a stream that "
        "cannot be made whole ends with an error. `verified`: they are held until "
        "the answer is complete. A caller may choose by X-Gateway-Stream-Mode.",
    )
    audit_url: str = Field(
        default="sqlite:///var/audit.db",
        description="Where records are kept, as an SQLAlchemy URL.",
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
        description="Key of the hash chain; default: a key file beside the database.",
    )
    bind: str = Field(
        default="127.0.0.1:8011",
        pattern=BIND,
        description="Where the gateway listens: HOST:PORT or unix:PATH.",
    )
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=256,
        description="Worker processes; default: the number of cores.",
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
        default_factory=lambda known: known["chat_deadline"] + 2,
        description="Longest that a stopping worker lets its chats go on, in seconds; "
        "default: the chat deadline and 2.",
    )
    max_memory: int = Field(
        default=0,
        ge=0,
        description="Megabytes that a worker may hold before it takes on no chats; 0: "
        "nobody does once the container holds 90 % of its limit, if it has one.",
    )
    metrics_bind: str | None = Field(
        default=None,
        pattern=BIND,
        description="Where /metrics, and nothing else, is served without a token: "
        "HOST:PORT or unix:PATH; default: only at VX11_BIND, with a token.",
    )
    metrics_dir: Path | None = Field(
        default=None,
        description="Folder, in memory if possible, in which each instance makes one "
        "for its counts; default: /dev/shm, else the audit database's.",
    )
    otlp_endpoint: Url | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "VX11_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"
        ),
        description="OpenTelemetry collector (OTLP over HTTP) to which traces are "
        "sent; default: nowhere. Needs the packages opentelemetry-sdk and "
        "opentelemetry-exporter-otlp-proto-http.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe level that is logged."
    )
    sandbox_control: dict[Name, LoopbackUrl] = Field(
        default_factory=dict,
        description="Control URLs of the sandbox's services by name, as JSON. Set by "
        "`run` when it starts the sandbox; opens the console's Break it panel.",
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

    @field_validator("token")
    @classmethod
    def _token_is_usable(cls, token: SecretStr | None) -> SecretStr | None:
        value = token.get_secret_value() if token else ""
        if token and not (MIN_TOKEN <= len(value) <= 200 and value.isascii()):
            raise ValueError(f"must be {MIN_TOKEN} to 200 ASCII characters")
        if token and ("," in value or not value.isprintable() or " " in value):
            raise ValueError("must not hold commas, spaces or control characters")
        return token

    @field_validator("token")
    @classmethod
    def _token_is_no_example(cls, token: SecretStr | None) -> SecretStr | None:
        if token and token.get_secret_value().lower() in DEFAULTS:
            raise ValueError("is the word of an example; make one of your own")
        return token

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for proxy in set(proxies) - {"unix"}:
                ip_network(proxy)
        except ValueError:
            raise ValueError("must be addresses, networks or `unix`") from None
        return proxies

    @model_validator(mode="after")
    def _callers_are_guarded(self) -> "Settings":
        if self.auth_mode == "token" and self.token is None:
            raise ValueError(
                "VX11_TENTACULO_LINK_TOKEN: no token is set; set it, or "
                "VX11_OPERATOR_TOKEN, or VX11_AUTH_MODE=off"
            )
        names = [u.name for u in self.upstreams]
        if len(names) != len(set(names)):
            raise ValueError("VX11_CONFIG: two [[upstreams]] have the same name")
        self._routes_lead_somewhere()
        return self

    @model_validator(mode="after")
    def _addresses_differ(self) -> "Settings":
        apart = (self.metrics_bind or "").rpartition(":")[2]
        if apart == self.bind.rpartition(":")[2]:
            raise ValueError("VX11_METRICS_BIND: must have another port than VX11_BIND")
        return self

    @model_validator(mode="after")
    def _somebody_can_say_no(self) -> "Settings":
        if self.threads < self.slots + self.queue + SPARE_THREADS:
            raise ValueError(
                f"VX11_THREADS: {self.threads} are too few; they must be at least "
                f"VX11_SLOTS ({self.slots}) + VX11_QUEUE ({self.queue}) + "
                f"{SPARE_THREADS}, or nobody is left to refuse what is too much"
            )
        if self.stream_slots >= max(2, self.slots):
            raise ValueError(
                f"VX11_STREAM_SLOTS: {self.stream_slots} must be less than "
                f"VX11_SLOTS ({self.slots})"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        config = os.environ.get(f"{PREFIX}CONFIG")
        sources = [init_settings, env_settings]
        if config:
            sources.append(TomlConfigSettingsSource(settings_cls, Path(config)))
        return tuple(sources)

    def _routes_lead_somewhere(self) -> None:
        known = {u.name for u in self.effective_upstreams()}
        for route in self.routes:
            if unknown := sorted(set(route.upstreams) - known):
                names = ", ".join(unknown)
                raise ValueError(
                    f"VX11_CONFIG: [[routes]] {route.model}: no upstream {names}"
                )

    def effective_upstreams(self) -> tuple[UpstreamSettings, ...]:
        """The upstreams to ask, in order: those listed, else switch and madre."""
        return self.upstreams or (
            UpstreamSettings(
                name="switch",
                kind="switch",
                url=self.switch_url,
                timeout=self.switch_timeout,
                concurrency=self.switch_concurrency,
            ),
            UpstreamSettings(
                name="madre",
                kind="madre",
                url=self.madre_url,
                timeout=self.madre_timeout,
                concurrency=self.madre_concurrency,
            ),
        )

    def audit_key_bytes(self) -> bytes | None:
        """The key of the hash chain; None for the one in the file."""
        return self.audit_key.get_secret_value().encode() if self.audit_key else None


def load(**overrides: Any) -> Settings:
    """Read the settings; raise SettingsError with every problem at once."""
    _require_config_file()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(problems_of(error)) from None
    except NotJson as error:
        raise SettingsError([not_json(str(error))]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{PREFIX}CONFIG: {error}"]) from None


def _require_config_file() -> None:
    config = os.environ.get(f"{PREFIX}CONFIG")
    if config and not Path(config).is_file():
        raise SettingsError([f"{PREFIX}CONFIG: there is no such file"])
