"""The wire models of operations: health, readiness and the status."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Health(BaseModel):
    """The process answers."""

    ok: Literal[True]
    status: Literal["ok"]
    module: Literal["operator"]
    version: str
    timestamp: AwareDatetime


class OperatorHealth(BaseModel):
    """The process answers, in the words of the operator backend."""

    status: Literal["ok"]
    service: Literal["operator_backend"]
    version: str


class Readiness(BaseModel):
    """A chat sent now would be accepted."""

    status: Literal["ready"]


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
    calls: CallsState | None = Field(
        default=None, description="Where it gets so many calls at once, and no more."
    )


class Policy(BaseModel):
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


class StatusData(BaseModel):
    """What the gateway knows, in the shape that the older clients read."""

    policy: Policy
    core_services: dict[str, UpstreamState] = Field(
        description="Each upstream by its name."
    )
    timestamp: AwareDatetime


class Status(StatusData):
    """What the gateway knows; nobody is asked for it."""

    ok: Literal[True]
    data: StatusData
    tokens: TokenState
    caller: CallerState
    sandbox: bool = Field(description="Whether stand-ins answer, which can be broken.")
    admission: AdmissionState
