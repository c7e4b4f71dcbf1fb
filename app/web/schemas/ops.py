"""The wire models of operations: health, readiness and the status."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Health(BaseModel):
    """The process answers."""

    ok: Literal[True]
    status: Literal["ok"]
    module: Literal["operator"]
    version: str
    timestamp: AwareDatetime


class OperatorHealth(BaseModel):
    """The process answers, with the fields of the operator backend."""

    status: Literal["ok"]
    service: Literal["operator_backend"]
    version: str


class Readiness(BaseModel):
    """A chat sent now would be accepted."""

    status: Literal["ready"]
    state: Literal["well", "degraded", "refusing"] = Field(
        description="How the gateway is; the status tells valid tokens why."
    )


class ObstacleState(BaseModel):
    """Why an upstream is passed over at this moment."""

    reason: str = Field(
        description="`unhealthy`, `resting`, `circuit_open` or `no_slot`; as on record."
    )
    for_s: float | None = Field(
        default=None, description="Seconds, if it is known for how long."
    )
    for_one_caller: bool | None = Field(
        default=None,
        description="True if it holds for one caller alone, whose chats failed.",
    )


class CallsState(BaseModel):
    """How many calls an upstream has at once, from the whole host."""

    running: int
    limit: int


class RecentCallsState(BaseModel):
    """How the newest calls to an upstream ended."""

    failures: int = Field(description="How many failed since the last that did not.")
    fault: str | None = Field(
        default=None, description="How the newest failure is called on record."
    )
    failed_at: AwareDatetime | None = Field(default=None, description="When it was.")
    succeeded_at: AwareDatetime | None = Field(
        default=None, description="When a call last succeeded, within three seconds."
    )


class UpstreamState(BaseModel):
    """What is known of an upstream."""

    status: Literal["up", "down", "unknown", "unprobed"] = Field(
        description="`unknown`: not asked yet. `unprobed`: never asked for its health."
    )
    reason: str = Field(description="Why, in a word; `ok` if it is up.")
    breaker: Literal["closed", "open", "half-open"] | None = Field(
        default=None, description="Its circuit, as the whole host sees it."
    )
    obstacle: ObstacleState | None = Field(
        default=None, description="What keeps a chat from being asked of it now."
    )
    recent: RecentCallsState | None = Field(
        default=None, description="How the newest calls to it ended."
    )
    calls: CallsState | None = Field(
        default=None, description="Where it gets so many calls at once, and no more."
    )


# Words of the operator backend for what is switched on.
PolicyWord = Literal["solo_madre", "operative_core", "full"]


class Routing(BaseModel):
    """How chats are handled."""

    order: list[str] = Field(description="The upstreams, in the order of asking.")
    deadline_s: float = Field(
        description="Seconds in which a chat ends, and a live stream begins."
    )


class TokenState(BaseModel):
    """Whether the file of tokens is in effect."""

    status: Literal["off", "ok", "stale"] = Field(
        description="`off`: nobody is asked for a token. `stale`: the file has"
        " mistakes, and the tokens of before hold."
    )
    problems: int = Field(default=0, description="How many mistakes there are.")


class CallerState(BaseModel):
    """Whose token was shown."""

    name: str
    scopes: list[str]


class Identity(BaseModel):
    """Whose token was shown, and what it may do."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str
    scopes: list[str]
    priority: Literal["high", "normal", "low"] = Field(
        alias="class", description="In whose favour chats wait for a slot."
    )


class AdmissionState(BaseModel):
    """What is taken, and how much there is.

    Empty where chats are not limited.
    """

    scope: Literal["host", "worker"] = Field(
        default="worker",
        description="`host`: in all workers together, as of a second ago. `worker`: in"
        " the one that answers, because the others are not known (no metrics).",
    )
    workers: int = Field(default=1, description="How many these numbers are of.")
    busy: int = Field(default=0, description="Chats under way.")
    slots: int = Field(default=0, description="Chats that may be.")
    waiting: int = Field(default=0, description="Chats that wait for a slot.")
    queue: int = Field(default=0, description="Chats that may wait.")
    streams: int = Field(default=0, description="Streams under way.")
    stream_slots: int = Field(default=0, description="Streams that may be.")


class ReasonState(BaseModel):
    """One thing that is not as it should be."""

    code: str
    detail: str = Field(description="One clause, for people.")
    next_step: str = Field(description="What to do about it.")
    upstream: str | None = Field(default=None, description="Whom it is about.")
    since: AwareDatetime | None = Field(
        default=None, description="Since when, if it is known."
    )


class SettingsInForce(BaseModel):
    """The settings that this process goes by."""

    settings: dict[str, Any] = Field(
        description="By their keys in the TOML file; secrets are asterisks."
    )


class GatewayState(BaseModel):
    """How the gateway is, in one word, and why: the worst reason first."""

    state: Literal["well", "degraded", "refusing"]
    since: AwareDatetime = Field(description="Since when that is its state.")
    sentence: str = Field(description="The state and all reasons, in one line.")
    reasons: list[ReasonState]


class StatusData(BaseModel):
    """What the gateway knows of its upstreams."""

    status: Literal["ok"] = Field(description="The gateway answers.")
    degraded: bool = Field(description="Whether some upstream is not asked now.")
    policy: PolicyWord = Field(
        description="`full`: all upstreams are asked. `solo_madre`: madre alone."
        " `operative_core`: some of them, or none."
    )
    routing: Routing
    core_services: dict[str, UpstreamState] = Field(
        description="Each upstream by its name."
    )
    timestamp: AwareDatetime


class Module(BaseModel):
    """An upstream, with the fields of the operator backend."""

    status: Literal["running", "down", "unknown"]
    port: int


class OperatorData(StatusData):
    """The same with what the pages of the operator backend read."""

    correlation_id: str
    operational_mode: PolicyWord = Field(description="As `policy`.")
    modules: dict[str, Module] = Field(description="Each upstream by its name.")
    dormant_services: list[str] = Field(
        description="Always empty: the gateway starts and stops no services."
    )


class HostState(BaseModel):
    """A host that writes the same records, as this one sees it."""

    name: str
    place: str = Field(description="Its state folder.")
    version: str
    workers: int = Field(description="Those that live.")
    lanes: int = Field(description="Of the chain, in the last day.")
    silent: float = Field(
        description="Seconds since one of its workers was heard of; 0 while one lives."
    )
    differences: list[str] = Field(
        description="In what it is not as this host: `version`, `tokens`, or settings."
    )


class Status(StatusData):
    """What the gateway knows; nobody is asked for it."""

    gateway: GatewayState

    ok: Literal[True]
    data: OperatorData
    tokens: TokenState
    caller: CallerState
    sandbox: bool = Field(description="Whether stand-ins answer, which can be broken.")
    admission: AdmissionState
    audit: str = Field(
        description="`ok`, or why no record can be written: `disk_full`, `locked`, "
        "`read_only`, `deleted`, `replaced`, `corrupt`, `stuck`."
    )
    audit_key: str = Field(
        description="Fingerprint of the key that signs the records: another one means "
        "another key. Empty while there is none."
    )
    hosts: list[HostState] = Field(
        description="All hosts that write the same records, this one too; empty where "
        "the records are of one host alone. As of some seconds ago."
    )
