"""The values of a chat: request, message, delta, reply, attempt.

None can be changed, so threads may share them. They are tuples, since a chat makes a
dozen of them, and a frozen dataclass takes five to ten times as long to make.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Any, NamedTuple, TypedDict

from app.gateway.abilities import CHAT, COUNT, TOOL_FIELDS, TOOLS
from app.gateway.kept.answers import Kept
from app.gateway.kept.reuse import ANYHOW, CacheControl, Caching, Reuse, Said
from app.gateway.replay.origin import Replay

NOTHING: Mapping[str, Any] = {}

# The members of a message or delta in which servers let their models think aloud.
THOUGHTS = (
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "reasoning_text",
    "reasoning_summary",
    "thinking",
    "thinking_blocks",
    "thinking_content",
    "thought",
    "thoughts",
)


class Priority(IntEnum):
    """The priority of a caller under load; a smaller number is better."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class StreamMode(Enum):
    """What a streamed reply does when its upstream breaks.

    LIVE hands on each delta as it comes, and goes on with another upstream only
    where that one says the same. VERIFIED holds all text back until it is whole.
    CONTINUE is LIVE, but gives another upstream that can PREFILL what was said, to go
    on from there in its own words.
    """

    LIVE = "live"
    VERIFIED = "verified"
    CONTINUE = "continue"


class Message(NamedTuple):
    """One turn of a conversation; role is system, user, assistant or tool.

    `content` is its text. `raw` is the whole message as an OpenAI caller sent it
    (content parts, tool calls, names); upstreams that speak OpenAI are sent that,
    untouched, and the others the text. `anthropic` is what only Anthropic's wire can
    say of the message beside it (`thinking` blocks, `cache_control`, `is_error`); no
    other upstream is sent that.
    """

    role: str
    content: str
    raw: Mapping[str, Any] | None = None
    anthropic: Mapping[str, Any] = NOTHING


class ChatRequest(NamedTuple):
    """A caller's request, validated by the door it came through.

    `caller` is the name of the token that was shown, never the token; `person` is for
    whom it speaks, None if it does not say or may not. `metadata`
    is everything the caller sent; adapters forward only what is allow-listed.
    `stream` says that the reply is wanted piece by piece as it comes. `model` is
    what the caller named, None for no wish. `extra` are the fields of an OpenAI
    request that are nobody's business here (temperature, tools, stop, ...): passed
    on untouched to upstreams that speak it, ignored for the others. `anthropic` are
    fields that only Anthropic's wire has (thinking, ...), and its `betas`, for
    upstreams that speak it. `needs` are the abilities (TOOLS, IMAGES, MULTIPLE, JSON,
    COUNT) that an upstream must have to be asked; `wants` are those that it had better
    have (TOOLS). One that needs COUNT wants no answer: its reply has no text, and its
    usage is the count.
    `wants_choices` says that the caller takes choices as an OpenAI upstream sends them
    (tool calls, reasoning); without it a reply is text alone. `route` names the door
    it came through, for the record. `size` is that of the body it came in, in bytes.
    `task` is CHAT, COMPLETIONS or EMBEDDINGS; each message of the last two is one text.
    `is_begun` says that the last message is the beginning of the answer, for whoever is
    asked to go on from there, and to say only what follows. `names_session` says that
    the session was named by the caller, and not by the door. `idempotency_key` is ""
    for none. `replay` is set where an operator asks again what is on record: nobody
    learns anything from how that ends.
    """

    messages: tuple[Message, ...]
    session_id: str
    correlation_id: str
    caller: str = "anonymous"
    person: str | None = None
    context: Mapping[str, Any] = NOTHING
    metadata: Mapping[str, Any] = NOTHING
    priority: Priority = Priority.NORMAL
    stream: bool = False
    stream_mode: StreamMode = StreamMode.LIVE
    model: str | None = None
    extra: Mapping[str, Any] = NOTHING
    anthropic: Mapping[str, Any] = NOTHING
    needs: frozenset[str] = frozenset()
    wants: frozenset[str] = frozenset()
    wants_choices: bool = False
    route: str = "chat"
    size: int = 0
    task: str = CHAT
    is_begun: bool = False
    replay: Replay | None = None
    names_session: bool = False
    idempotency_key: str = ""
    cache_control: CacheControl = ANYHOW

    @property
    def last_user_message(self) -> str:
        """The text that an upstream without a conversation is asked."""
        users = (m.content for m in reversed(self.messages) if m.role == "user")
        return next(users, "")

    def __repr__(self) -> str:
        named = zip(self._fields, self, strict=True)
        shown = (f"{n}={v!r}" for n, v in named if n != "idempotency_key")
        return f"ChatRequest({', '.join(shown)})"

    def without_tools(self) -> "ChatRequest":
        """The same request as an upstream is asked that can do nothing with tools."""
        extra = {k: v for k, v in self.extra.items() if k not in TOOL_FIELDS}
        return self._replace(extra=extra, wants=self.wants - {TOOLS})

    def to_count(self) -> "ChatRequest":
        """The same request for its tokens to be counted, and not to be answered."""
        needs = frozenset({COUNT})
        return self._replace(needs=needs, wants=frozenset(), stream=False)

    def begun_with(self, text: str) -> "ChatRequest":
        """The same request with the beginning of its answer."""
        beginning = Message("assistant", text)
        return self._replace(messages=(*self.messages, beginning), is_begun=True)


class Usage(NamedTuple):
    """Tokens spent, as counted by the upstream that answered.

    `details` are all else that it counted, in its words, which are OpenAI's: how many
    of the tokens were of which kind, a total of its own.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    details: Mapping[str, Any] = NOTHING


class Seam(NamedTuple):
    """Where another upstream goes on with a reply: who, and from which character.

    `character` is how many Unicode characters of its text others have said.
    """

    upstream: str
    character: int


class Delta(NamedTuple):
    """A piece of a reply, in order. A whole reply is one delta.

    `text` may be empty. `choices` is empty for plain text; else it is the `choices`
    of a chunk in OpenAI's shape (tool calls, several choices, reasoning), except that
    `finish_reason` is null: that is told by the reply. `extra` is what came around
    the choices; see `ChatReply`. `seam` is set on the first delta of an upstream that
    goes on with what another one began.
    """

    text: str
    choices: tuple[Mapping[str, Any], ...] = ()
    extra: Mapping[str, Any] = NOTHING
    seam: Seam | None = None


class Attempt(NamedTuple):
    """One upstream's part in a request.

    `fault` is None for the attempt that answered, else its fault class (see
    `errors`); `duration` is in seconds; `received` counts body bytes; `status` is
    the HTTP status, if there was one; `span` is its id in the trace, "" if the
    upstream was never asked. `from_character` is set where several upstreams have said
    parts of one reply: the place in its text from which on this one spoke.
    """

    upstream: str
    fault: str | None
    duration: float
    received: int = 0
    status: int | None = None
    span: str = ""
    from_character: int | None = None


class ChatReply(NamedTuple):
    """A reply, whole or what came of it.

    `upstream` is the name of the one who answered. `degraded_by` is None when the
    first choice answered, else the reason why it did not. `audit_id` names the
    record and `audit_seconds` is how long its commit was waited for;
    `queue_seconds` is how long it waited for a slot.

    `model`, `usage`, `finish_reason` and `choices` of a streamed reply are known
    once it is over. `finish_reason` is that of the first choice. `choices` is
    empty where text and finish reason say it all; else it is in OpenAI's shape: of a
    whole reply its choices (with `message`), of a streamed one `index` and
    `finish_reason` of each, since the deltas had the rest. `replies` turns the one
    into the other. `extra` are the fields around the choices that are nobody's
    business here (a fingerprint, citations, ...): handed on untouched to a caller who
    speaks OpenAI. `left_out` are the abilities that the request wanted and that
    whoever answered was asked without. `body` is the answer as it came, in JSON, where
    it is no text: then `text` says only what came, for the record.

    `said` is there where the answer is to be the same bytes whenever it is said.
    `reuse` is there where it was said before: it has no attempts then, and its usage is
    that of then. `caching` is there where answers are cached, and `kept` is all that is
    to be kept of it once its record is committed.
    """

    text: str
    upstream: str
    model: str
    usage: Usage = Usage()
    finish_reason: str = "stop"
    degraded_by: str | None = None
    attempts: tuple[Attempt, ...] = ()
    audit_id: str = ""
    audit_seconds: float = 0.0
    queue_seconds: float = 0.0
    choices: tuple[Mapping[str, Any], ...] = ()
    extra: Mapping[str, Any] = NOTHING
    left_out: tuple[str, ...] = ()
    body: bytes = b""
    said: Said | None = None
    reuse: Reuse | None = None
    caching: Caching | None = None
    kept: tuple[Kept, ...] = ()

    @property
    def is_degraded(self) -> bool:
        """Whether the caller got less than the first choice would have given."""
        return self.degraded_by is not None

    @property
    def first_id(self) -> str:
        """The id of the record of whoever was given this very answer first."""
        return (self.said.audit_id if self.said else "") or self.audit_id

    def with_facts(self, facts: "ReplyFacts") -> "ChatReply":
        """The reply with these facts put into it."""
        return self._replace(**facts)


class ReplyFacts(TypedDict, total=False):
    """Facts about a reply that became known after it had begun.

    Each field has the meaning of the field of `ChatReply` with the same name.
    """

    text: str
    upstream: str
    model: str
    usage: Usage
    finish_reason: str
    degraded_by: str
    attempts: tuple[Attempt, ...]
    audit_id: str
    audit_seconds: float
    queue_seconds: float
    choices: tuple[Mapping[str, Any], ...]
    extra: Mapping[str, Any]
    left_out: tuple[str, ...]
    body: bytes
    said: Said
    reuse: Reuse
    caching: Caching
    kept: tuple[Kept, ...]
