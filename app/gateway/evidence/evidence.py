"""Evidence: what a record says beside its words, and the port that reads it."""

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

from app.gateway.records.events import EVENT
from app.gateway.replay.origin import REPLAY

# The routes of records that no user has asked for, beside events.
CORRECTION = "correction"


class Evidence(NamedTuple):
    """One record without its words; see Intent and Closing for most fields.

    `chats` is of how many refusals it is. `facts` is the JSON of an event's request,
    None of a chat's.
    """

    id: str
    lane: int
    caller: str
    route: str
    opened_at: float
    closed_at: float | None
    duration: float | None
    outcome: str | None
    code: str | None
    status: int | None
    provider: str | None
    degraded_by: str | None
    attempts: str | None
    corrects: str | None
    decision: str | None
    chats: int
    facts: str | None

    @property
    def is_chat(self) -> bool:
        """Whether a user asked for an answer."""
        no_chat = self.outcome == EVENT or self.corrects is not None
        return not no_chat and self.route != REPLAY

    @property
    def is_repeat(self) -> bool:
        """Whether it was answered and nobody was asked: by an answer of before."""
        return self.outcome == "completed" and not self.made()

    @property
    def over_at(self) -> float:
        """When it was over; of one that is not, when it began."""
        return self.opened_at if self.closed_at is None else self.closed_at

    def made(self) -> list[dict[str, Any]]:
        """Its attempts, in their order."""
        return [one for one in _json(self.attempts, []) if isinstance(one, dict)]

    def decided(self) -> dict[str, Any]:
        """What was decided before anybody was asked; empty where that is not known."""
        return decision_of(self.decision)

    def fact(self, name: str) -> Any:
        """A fact of an event, None if it has none of that name."""
        return _json(self.facts, {}).get(name)


class Beat(NamedTuple):
    """A sign that a lane was written: its knot, once a minute, in Unix time."""

    lane: int
    at: float


# What became of a place of the chain: it is as it was, or it was pruned with the oldest
# records, or there is another one, or none.
Anchored = Literal["there", "pruned", "missing"]


class EvidenceSource(Protocol):
    """The port that reads evidence, oldest first. Threads may share it.

    Times are Unix times of beginnings, `until` excluded. Every method raises
    AuditUnavailable, also while what it returned is read.
    """

    def events(self, since: float, until: float) -> Iterator[Evidence]:
        """Yield the events, without knots."""
        ...

    def beats(self, since: float, until: float) -> Iterator[Beat]:
        """Yield the knots of all lanes."""
        ...

    def chats(self, since: float, until: float) -> Iterator[Evidence]:
        """Yield all that are no events, corrections among them."""
        ...

    def tips(self) -> tuple[str, ...]:
        """Return the head of each lane, as `records verify` prints it."""
        ...

    def anchored(self, head: str) -> Anchored:
        """Tell whether a head of earlier, in that form, is part of the chain still.

        That is no proof that the chain is whole. Raises ValueError for another text.
        """
        ...


def decision_of(text: str | None) -> dict[str, Any]:
    """A decision as its record has it (`routing/decisions`); empty if it has none."""
    found: dict[str, Any] = _json(text, {})
    return found


class NoEvidence:
    """Fulfils EvidenceSource where nothing is on record."""

    def events(self, since: float, until: float) -> Iterator[Evidence]:  # noqa: ARG002
        """Yield none."""
        return iter(())

    def beats(self, since: float, until: float) -> Iterator[Beat]:  # noqa: ARG002
        """Yield none."""
        return iter(())

    chats = events

    def tips(self) -> tuple[str, ...]:
        """Return none."""
        return ()

    def anchored(self, head: str) -> Anchored:  # noqa: ARG002
        """Find none."""
        return "missing"


def _json(text: str | None, nothing: Any) -> Any:
    """What a record holds; nothing where it is not of our making."""
    try:
        found = json.loads(text) if text else nothing
    except ValueError:
        return nothing
    return found if isinstance(found, type(nothing)) else nothing
