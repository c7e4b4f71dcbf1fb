"""Entries of the settings: what `[[upstreams]]` and `[[routes]]` may hold."""

import os
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)


def _like(pattern: str, words: str) -> AfterValidator:
    """Refuse what does not look like this, in these words."""
    found = re.compile(pattern)

    def check(text: str) -> str:
        if not found.fullmatch(text):
            raise ValueError(words)
        return text

    return AfterValidator(check)


Seconds = Annotated[float, Field(gt=0, le=3600)]
Days = Annotated[int, Field(ge=1, le=36_500)]
# Calls at once that the workers can count together; 0 is no limit.
Concurrency = Annotated[int, Field(ge=0, le=100)]
Header = Annotated[str, _like(r"[A-Za-z0-9-]{1,100}", "must be the name of a header")]
# Tokens; 0 is not known.
ContextLength = Annotated[int, Field(ge=0, le=1_000_000_000)]
Ability = Literal["tools", "images", "multiple", "json", "prefill"]
Name = Annotated[
    str,
    _like(
        r"[a-z0-9][a-z0-9_.-]{0,63}",
        "must be of lower-case letters, digits, `_`, `.` and `-`, and 64 at most",
    ),
]
BIND = r"unix:.+|[^\s:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}"
HIGHEST_PORT = 65535
HOST = re.compile(r"[\w.-]+")


def _leads_somewhere(url: str) -> str:
    """Refuse what only looks like an address: nobody could ever connect to it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("must be an address: its host or its port is none") from None
    if port == 0:
        raise ValueError("must have a port from 1 to 65535")
    if "[" not in parts.netloc and not HOST.fullmatch(host):
        raise ValueError("must be an address: its host is none")
    return url


def _port_is_one(bind: str) -> str:
    port = bind.rpartition(":")[2]
    if not bind.startswith("unix:") and int(port) > HIGHEST_PORT:
        raise ValueError(f"must have a port of at most {HIGHEST_PORT}")
    return bind


Url = Annotated[
    str,
    _like(
        r"https?://[^\s/?#@]+(/[^\s?#]*)?",
        "must be http:// or https:// and a host, with a port and a path where needed, "
        "and nothing else",
    ),
    AfterValidator(_leads_somewhere),
]
# As browsers send it: no path, no port that goes without saying.
Origin = Annotated[
    str,
    _like(
        r"\*|[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d{1,5})?",
        "must be `*` or an origin such as https://app.example",
    ),
    Field(max_length=300),
]
Bind = Annotated[
    str,
    _like(BIND, "must be HOST:PORT, [ADDRESS]:PORT or unix:PATH"),
    AfterValidator(_port_is_one),
]

# A path on a server, or the word for none at all.
NO_HEALTH = "none"
Health = Annotated[
    str,
    _like(
        rf'({NO_HEALTH}|/[!"$-~]*)?',
        f"must be a path that begins with /, or {NO_HEALTH}",
    ),
    Field(max_length=500),
]

LoopbackUrl = Annotated[
    str,
    _like(r"http://127\.0\.0\.1:\d{1,5}/[a-z/]*", "must be http://127.0.0.1:PORT/"),
]
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
VariableName = Annotated[str, _like(VARIABLE, "must be the name of a variable")]
# A name that may be told: no key of a provider is of capitals and underscores alone.
TELLING = re.compile(r"[A-Z]+(_[A-Z]+)+")


class UpstreamSettings(BaseModel):
    """One entry of `[[upstreams]]`; their order is the order of asking.

    Which kinds there are, and which of the keys are for some of them only, the
    dialects declare (`app/upstreams`): wiring checks it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="What it is called, here and in answers.")
    kind: str = Field(
        description="What it speaks; `openai` is any server with chat completions, "
        "`anthropic` any with Anthropic's messages."
    )
    url: Url = Field(
        description="Its base URL; for `openai` and `anthropic` it ends in /v1."
    )
    timeout: Seconds = Field(
        default=30.0,
        description="Longest a call may take, in seconds; of a stream, its beginning.",
    )
    concurrency: Concurrency = Field(
        default=0,
        description="Calls it gets at once from this host; 0: any number.",
    )
    health: Health = Field(
        default="",
        description="Path on its server that tells whether it is alive, from the "
        "first `/` on; `none`: it is never asked and never thought to hang, for a "
        "server that answers one request at a time; default: its URL and `/health`, "
        "for openai and anthropic `/models`.",
    )
    slow_call: Annotated[float, Field(ge=0, le=3600)] | None = Field(
        default=None, description="Replaces VX11_BREAKER_SLOW_CALL for it."
    )
    api_key_env: VariableName = Field(
        default="",
        description="openai, anthropic: name of the variable that holds its key; the "
        "key itself is never in the file.",
    )
    api_key: SecretStr = Field(default=SecretStr(""), exclude=True)
    model: Annotated[str, Field(max_length=200)] = Field(
        default="",
        description="openai, anthropic: asked for whatever the caller named.",
    )
    first_token_timeout: Seconds = Field(
        default=30.0,
        description="openai, anthropic: longest until the first words of a stream, in "
        "seconds; a model without a GPU may read a long prompt for so long.",
    )
    idle_timeout: Seconds = Field(
        default=10.0,
        description="openai, anthropic: longest between words of a stream, in seconds; "
        "heartbeats are no words.",
    )
    stream_timeout: Seconds = Field(
        default=600.0,
        description="openai, anthropic: longest that the words of one stream may flow, "
        "in seconds; `timeout` does not bound them.",
    )
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=4096,
        description="anthropic: most tokens of an answer whose request names no limit; "
        "its wire wants one.",
    )
    max_answer: Annotated[int, Field(ge=65_536, le=268_435_456)] = Field(
        default=16_777_216,
        description="openai, anthropic: largest answer that is read, in bytes; of a "
        "stream all of it, and each of its events.",
    )
    retries: Annotated[int, Field(ge=0, le=2)] = Field(
        default=1,
        description="openai, anthropic: most times that one chat is asked again of it, "
        "after a 429, a passing 5xx or a reset.",
    )
    abilities: tuple[Ability, ...] = Field(
        default=("tools", "images", "multiple", "json"),
        description="openai, anthropic: what it can; chats that need more pass it "
        "over. `json`: answers in the `response_format` of a request. Without `tools` "
        "it is asked without them, unless one must be called. An anthropic one never "
        "gives several answers (`multiple`). `prefill`, not by default: goes on with "
        "an answer whose beginning it is given (docs/decisions/0036).",
    )
    serves: Annotated[
        tuple[Literal["chat", "completions", "embeddings"], ...], Field(min_length=1)
    ] = Field(
        default=("chat",),
        description="openai: what it is asked for: `POST` to `/chat/completions`, "
        "`/completions` or `/embeddings` behind its URL. A route of embeddings should "
        "list servers of one and the same model: vectors of two cannot be compared.",
    )
    context_length: ContextLength = Field(
        default=0,
        description="Tokens that its model can read, which `GET /v1/models` tells "
        "clients; 0: nobody knows.",
    )

    @property
    def is_probed(self) -> bool:
        """Whether it is asked for its health."""
        return self.health != NO_HEALTH

    @field_validator("api_key_env")
    @classmethod
    def _variable_holds_a_key(cls, variable: str) -> str:
        if not _usable_key(variable):
            # Else who mixes the two up has put the key there.
            which = f" {variable}" if TELLING.fullmatch(variable) else ""
            raise ValueError(f"the variable{which} is unset, or cannot be a key")
        return variable

    @field_validator("api_key", mode="before")
    @classmethod
    def _key_is_in_no_file(cls, given: Any) -> Any:
        if not isinstance(given, SecretStr):
            raise ValueError("keep it in a variable, named by api_key_env")
        return given

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        variable = given.get("api_key_env") if isinstance(given, dict) else None
        key = _usable_key(variable) if isinstance(variable, str) else ""
        return {"api_key": SecretStr(key), **given} if key else given


def _usable_key(variable: str) -> str:
    """The key that a variable holds; "" if it holds none."""
    key = os.environ.get(variable, "") if re.fullmatch(VARIABLE, variable) else ""
    return key if key.isascii() and key.isprintable() else ""


class RouteSettings(BaseModel):
    """One entry of `[[routes]]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        description="The model that callers name, or a glob (`*`, `?`, `[...]`) of "
        "such names. Exact names go before globs."
    )
    upstreams: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        description="The upstreams to ask for it, in order."
    )
    context_length: ContextLength = Field(
        default=0,
        description="Tokens that `GET /v1/models` says it can read; default: the least "
        "that its upstreams say, so that each of them can answer.",
    )
    cache: Annotated[float, Field(ge=0, le=86_400)] | None = Field(
        default=None,
        description="Seconds for which its answers are cached, in place of "
        "VX11_CACHE_TTL; 0: never.",
    )
