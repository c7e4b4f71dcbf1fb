"""Playing: a stored answer in the pieces in which it came, with the waits before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from app.gateway.records.audit import Record
from app.gateway.records.content import REDACTED, TIMELINE
from app.gateway.replay.stored import NotReplayable, require_chat, words_in
from app.gateway.replay.timeline import stored_steps


class Step(NamedTuple):
    """A piece of an answer; `wait` is in seconds, since the piece before it."""

    wait: float
    text: str


@dataclass(frozen=True, slots=True)
class Played:
    """An answer as it came. `said` is all that is stored of it.

    `is_streamed`: it came in pieces, when its caller took them. `is_exact`: pieces and
    text are those that the caller got; False where something was redacted, so that
    the lengths of the pieces are those of another text.
    """

    steps: tuple[Step, ...]
    said: Mapping[str, Any]
    is_streamed: bool
    is_exact: bool

    @property
    def seconds(self) -> float:
        """How long it takes at the speed at which it came."""
        return sum(step.wait for step in self.steps)


def played(record: Record) -> Played:
    """The steps of a record's answer; raises NotReplayable.

    A whole answer, or one of which no timeline is kept, is a single step.
    """
    require_chat(record)
    if record.reply is None and record.request is not None:
        raise NotReplayable("no_answer")
    said = words_in(record.reply)
    text, timeline = said.get("text") or "", stored_steps(said.get(TIMELINE))
    if not (text or said.get("choices")):
        raise NotReplayable("no_answer")
    is_exact = not said.get(REDACTED)
    if timeline is None:
        step = Step(record.duration or 0.0, text)
        return Played((step,), said, is_streamed=False, is_exact=is_exact)
    waits, lengths = timeline
    pieces = _cut(text, lengths)
    steps = (
        Step(wait / 1000, piece) for wait, piece in zip(waits, pieces, strict=True)
    )
    is_exact = is_exact and sum(lengths) == len(text)
    return Played(tuple(steps), said, is_streamed=True, is_exact=is_exact)


def _cut(text: str, lengths: Sequence[int]) -> Iterator[str]:
    """The text in pieces of those lengths, or of their shares of another length."""
    whole = sum(lengths)
    ends = accumulate(lengths, initial=0)
    at = (end * len(text) // whole if whole else 0 for end in ends)
    return (text[start:end] for start, end in pairwise(at))
