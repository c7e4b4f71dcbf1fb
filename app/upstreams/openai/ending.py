"""The end of a streamed answer of an OpenAI-speaking upstream, and how it is known.

A finish reason is not the end while more can come. Servers send one with every chunk,
flush words late, and put usage, an error or a reset behind it
(docs/decisions/0012).
"""

from enum import Enum

from app.upstreams.openai.finish_reasons import is_end


class State(Enum):
    """What the chunks so far say of the end; words may still come in each of them."""

    OPEN = "there is more to come"
    FINISHED = "each choice has its finish reason"
    TOLD = "the usage came behind the reasons, as it does behind the last word"


class Ending:
    """The choices of a streamed answer and how they end. It belongs to one thread.

    `expected` choices were asked for. Fewer than these may be all that comes, but no
    silence tells that.
    """

    def __init__(self, expected: int) -> None:
        self.reasons: dict[int, str | None] = {}  # the last proper one of each choice
        self._expected = expected
        self._endless: set[int] = set()  # choices that have no proper reason yet
        self._open: set[int] = set()  # these, and those that went on behind theirs
        self._has_said = False
        self._is_doubtful = False  # words came behind a reason: it was none
        self._is_told = False
        self._was_told_wrongly = False  # words came behind the usage

    @property
    def state(self) -> State:
        """Whether it has come to an end, as far as one can know."""
        if self._is_told:
            return State.TOLD
        is_all = self._has_said and len(self.reasons) >= self._expected
        return State.FINISHED if is_all and not self._open else State.OPEN

    def take(self, index: int, reason: str | None, *, says: bool) -> None:
        """Take in what a chunk says of a choice; `says` is whether it holds words.

        Where reasons came with words that were not the last ones, only a reason
        without words ends a choice.
        """
        self._has_said |= says
        if index not in self.reasons:
            self.reasons[index] = None
            self._endless.add(index)
            self._go_on(index)
        elif says and (self._is_told or index not in self._open):
            self._is_doubtful = True
            self._go_on(index)
        if is_end(reason):
            self.reasons[index] = reason
            self._endless.discard(index)
            if not (says and self._is_doubtful):
                self._open.discard(index)
        elif reason and index in self._endless:
            self.reasons[index] = reason

    def goes_on(self, index: int) -> bool:
        """Take in plain words of a choice that has begun and not ended, as most are.

        Returns False, and does nothing, for those that need `take`.
        """
        if self._is_told or index not in self._open:
            return False
        self._has_said = True
        return True

    def take_usage(self) -> None:
        """Take in that a chunk of nothing but usage came."""
        more = self._open if self._was_told_wrongly else self._endless
        self._is_told = bool(self.reasons) and not more

    def _go_on(self, index: int) -> None:
        self._open.add(index)
        self._was_told_wrongly |= self._is_told
        self._is_told = False
