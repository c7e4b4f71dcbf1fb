"""The audit trail as the core sees it: its values and its port.

A chat is on record twice: its intent when it is accepted, its closing when it
ends. Nothing here knows how or where the rows are kept.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.gateway.kept.answers import Kept
from app.gateway.records.signs import TrailSigns

EXCERPT = 160  # characters of the question that a list shows

# The place in each lane of the chain up to which its records were read.
Ends = Mapping[int, int]

# The route of the records that tie the chain's lanes together once a minute. They are
# events; no search finds them, for they would hide all others.
KNOT = "knot"
# The route of the records that say which words were erased, and which records pruned.
# They are events, too; a search finds them where it asks for events.
RETENTION = "retention"


class Intent(NamedTuple):
    """A chat that was accepted and has yet to end.

    `id` is 32 hex digits that sort by time (see `new_audit_id`), `opened_at` is
    Unix time in seconds, `request` is JSON text that is already redacted or
    digested. `caller` is the name of the token, never the token; `person` is for whom
    it spoke, if it said so. `decision` is JSON text (see `routing/decisions`), which
    goes on record with the ending.
    """

    id: str
    correlation_id: str
    session_id: str
    caller: str
    route: str
    opened_at: float
    request: str
    person: str | None = None
    decision: str | None = None


class Closing(NamedTuple):
    """The end of a chat, as its record has it.

    `outcome` is completed, failed, cancelled, interrupted or refused, or event for
    what was no chat (see `transitions`); `code` is the error code that the caller
    saw, `status` the HTTP status, `duration` is in seconds, `closed_at` Unix time in
    seconds. `reply` and `attempts` are JSON text, already redacted. `reuse` says by
    what it repeats an answer, and `source` names the record that said it first. `kept`
    is what is to be kept of the answer, in the commit of the record.
    """

    outcome: str
    status: int
    duration: float
    closed_at: float
    code: str | None = None
    provider: str | None = None
    model: str | None = None
    degraded_by: str | None = None
    reply: str = "{}"
    attempts: str = "[]"
    input_tokens: int | None = None
    output_tokens: int | None = None
    source: str | None = None
    reuse: str | None = None
    kept: tuple[Kept, ...] = ()


def undelivered(closing: Closing) -> Closing:
    """Return the ending of a reply that was made but could not be delivered."""
    if closing.outcome != "completed":
        return closing
    code = "audit_unavailable"
    return closing._replace(outcome="failed", code=code, status=503, kept=())


class Trail(Protocol):
    """The port that stores records. Threads may share it."""

    def check(self) -> None:
        """Return if records can be written, as far as is known; never wait.

        Raises AuditUnavailable with the reason's class. Cheap enough to be asked
        for every request.
        """
        ...

    def begin(self, intent: Intent) -> None:
        """Queue an intent without waiting.

        Raises AuditUnavailable at once when the trail is known to be unwritable.
        """
        ...

    def finish(
        self,
        intent: Intent,
        closing: Closing,
        timeout: float,
        pulse: Callable[[], None] = lambda: None,
    ) -> float:
        """Wait until the whole record is committed; return the seconds waited.

        `pulse` is called every SLICE while the wait lasts. Whatever it raises, the
        record is committed all the same.
        Raises AuditUnavailable, at most `timeout` seconds later, when it is not.
        The reply must then not be delivered.
        """
        ...

    def note(self, intent: Intent, closing: Closing) -> None:
        """Queue a record that nobody waits for; nothing is raised.

        For refusals, and for endings where an answer is delivered in any case: it
        is written as it is, while what `finish` gave up is recorded as undelivered.
        """
        ...

    @property
    def unsigned(self) -> int:
        """How many open records of the past were found that we did not write."""
        ...

    def signs(self) -> TrailSigns:
        """What was seen within the last second; nothing is waited for."""
        ...

    def key_id(self) -> str:
        """Fingerprint of the key that signs, "" while there is none."""
        ...


def new_audit_id(now: float) -> str:
    """Return 32 hex digits that sort by time: a UUIDv7 (RFC 9562, section 5.7).

    `now` is Unix time in seconds.
    """
    stamp = int(now * 1000).to_bytes(6, "big")
    noise = bytearray(os.urandom(10))
    noise[0] = 0x70 | noise[0] & 0x0F
    noise[2] = 0x80 | noise[2] & 0x3F
    return (stamp + noise).hex()


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it is kept; see Intent and Closing for most fields.

    `seq` and `digest` are None, and so is all that an ending sets, while the chat
    is under way. `corrects` names the record whose reply did not go out after all.
    `clock_step` says by how many seconds the wall clock was seen to jump. `request`
    and `reply` are None where the words were erased.
    """

    id: str
    correlation_id: str
    session_id: str
    caller: str
    route: str
    opened_at: float
    request: str | None
    person: str | None
    worker: str
    outcome: str | None
    code: str | None
    provider: str | None
    model: str | None
    degraded_by: str | None
    status: int | None
    reply: str | None
    attempts: str | None
    duration: float | None
    input_tokens: int | None
    output_tokens: int | None
    closed_at: float | None
    corrects: str | None
    decision: str | None
    source: str | None
    reuse: str | None
    clock_step: float | None
    seq: int | None
    digest: bytes | None

    @property
    def key(self) -> tuple[float, str]:
        """Its place in a search's order; hand it to the next one as `before`."""
        return self.opened_at, self.id


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list shows of a record; see there.

    `excerpt` is the beginning of the newest question, None where it was not kept.
    """

    id: str
    correlation_id: str
    session_id: str
    caller: str
    person: str | None
    route: str
    opened_at: float
    outcome: str | None
    code: str | None
    status: int | None
    provider: str | None
    model: str | None
    degraded_by: str | None
    duration: float | None
    corrects: str | None
    excerpt: str | None

    @property
    def key(self) -> tuple[float, str]:
        """As that of a Record."""
        return self.opened_at, self.id


@dataclass(frozen=True, slots=True)
class Query:
    """The terms of a search; None means any.

    `text` is looked for in request and reply; `since` (included) and `until`
    (excluded) are Unix times of the beginning; `outcome` may also be `open`. `degraded`
    finds chats that the first choice did not answer, `failed` those that nobody
    answered, or that the gateway itself refused; both together find either.
    """

    text: str | None = None
    correlation_id: str | None = None
    session_id: str | None = None
    person: str | None = None
    caller: str | None = None
    provider: str | None = None
    reuse: str | None = None
    outcome: str | None = None
    degraded: bool = False
    failed: bool = False
    since: float | None = None
    until: float | None = None
    limit: int = 50
    before: tuple[float, str] | None = None


class Records(Protocol):
    """The port that finds records. Threads may share it; it never blocks writers."""

    def get(self, any_id: str) -> Record | None:
        """Return the record of that id, else the newest of that correlation id.

        Of several callers who used that, whoever did first keeps its place.
        Raises AuditUnavailable when the records can't be read.
        """
        ...

    def search(self, query: Query) -> tuple[Record, ...]:
        """Return matching records, newest first, at most 500 at once.

        Raises AuditUnavailable when the records can't be read, SearchTookTooLong
        when there are too many to look through.
        """
        ...

    def listed(self, query: Query) -> tuple[Listed, ...]:
        """Return what a list shows of each record that `search` would find.

        The words stay where they are, however many. Raises as `search` does.
        """
        ...

    def ends(self) -> Ends:
        """Where each lane ends now: what is sealed later follows. As `sealed_after`."""
        ...

    def sealed_after(self, ends: Ends) -> tuple[tuple[Record, ...], Ends]:
        """Return what was sealed behind these places, and where to ask on from.

        At most 500 at once, of each lane in its order; who asks on sees each once.
        Raises AuditUnavailable when the records can't be read.
        """
        ...
