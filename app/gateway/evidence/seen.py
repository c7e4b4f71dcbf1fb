"""Seen: how calls to each upstream went, by what is on record."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from app.gateway.evidence.causes import NOT_ASKED, OUR_LIMITS
from app.gateway.evidence.evidence import Evidence

NEAR = 30.0  # seconds within which calls of others tell how one would have gone


class Result(NamedTuple):
    """How a call went, or would have gone: for how many seconds, and with which fault.

    `fault` None: it was answered. `calls` is 0 where this very chat made the call, else
    how many calls of others it is guessed from.
    """

    fault: str | None
    seconds: float
    calls: int = 0


class Call(NamedTuple):
    """A call that was made."""

    upstream: str
    at: float
    result: Result


def calls_of(chat: Evidence) -> Iterator[Call]:
    """Yield the calls that a chat has made, in their order."""
    at = chat.opened_at
    for attempt in chat.made():
        name, fault = attempt.get("upstream"), attempt.get("fault")
        seconds = _number(attempt.get("duration"))
        if isinstance(name, str) and fault not in NOT_ASKED:
            yield Call(name, at, Result(fault and str(fault), seconds))
        at += seconds


class Case(NamedTuple):
    """A chat with what is read of its record once: what was decided, and its calls."""

    chat: Evidence
    decision: Mapping[str, Any]
    calls: tuple[Call, ...]

    @classmethod
    def of(cls, chat: Evidence) -> "Case":
        """Read a record."""
        return cls(chat, chat.decided(), tuple(calls_of(chat)))


class Seen:
    """All calls of a time, by upstream. It is filled first, and asked afterwards."""

    def __init__(self) -> None:
        self._calls: dict[str, list[Call]] = defaultdict(list)
        self._sums: dict[str, tuple[_Sums, _Sums]] = {}

    def add(self, chat: Evidence) -> None:
        """Take the calls of a chat."""
        for call in calls_of(chat):
            self._calls[call.upstream].append(call)

    def result(self, case: Case, upstream: str, limit: float) -> Result | None:
        """How a call of this chat goes that is given `limit` seconds.

        It is its own where it made one, else a guess from those of others about then.
        None: nothing on record says it. A call that met the limit of before, and would
        have more time now, says nothing.
        """
        calls = (call.result for call in case.calls if call.upstream == upstream)
        own = next(calls, None)
        if own is None:
            return self._of_others(upstream, case.chat.opened_at, limit)
        if own.seconds > limit:
            return Result("read_timeout", limit)
        return None if _was_cut(own) and _is_longer(limit, own.seconds) else own

    def _of_others(self, upstream: str, at: float, limit: float) -> Result | None:
        if upstream not in self._sums:
            calls = sorted(self._calls[upstream], key=lambda call: call.at)
            self._sums[upstream] = (
                _Sums([call for call in calls if not _was_cut(call.result)]),
                _Sums([call for call in calls if _was_cut(call.result)]),
            )
        ended, cut = (sums.around(at) for sums in self._sums[upstream])
        if cut.calls and _is_longer(limit, cut.seconds / cut.calls):
            cut = NONE
        number = ended.calls + cut.calls
        if not number:
            return None
        seconds = (ended.seconds + cut.seconds) / number
        if seconds > limit:
            return Result("read_timeout", limit, number)
        fault = cut.fault or ended.fault
        is_answered = fault is None or 2 * ended.good >= number
        return Result(None if is_answered else fault, seconds, number)


class _Around(NamedTuple):
    """The calls about a moment, added up; `fault` is the last one that any had."""

    calls: int
    good: int
    seconds: float
    fault: str | None


NONE = _Around(0, 0, 0.0, None)


class _Sums:
    """Calls in the order of time, added up from the first on."""

    def __init__(self, calls: list[Call]) -> None:
        faults = [call.result.fault for call in calls]
        self._times = [call.at for call in calls]
        self._good = [0, *accumulate(int(fault is None) for fault in faults)]
        self._took = [0.0, *accumulate(call.result.seconds for call in calls)]
        self._faults: list[str | None] = []
        for fault in faults:
            self._faults.append(fault or (self._faults[-1] if self._faults else None))

    def around(self, at: float) -> _Around:
        """Those that were made at most NEAR seconds before or after."""
        first = bisect_left(self._times, at - NEAR)
        behind = bisect_right(self._times, at + NEAR)
        if first == behind:
            return NONE
        good = self._good[behind] - self._good[first]
        is_any_bad = good < behind - first
        return _Around(
            behind - first,
            good,
            self._took[behind] - self._took[first],
            self._faults[behind - 1] if is_any_bad else None,
        )


def _was_cut(result: Result) -> bool:
    return result.fault in OUR_LIMITS


def _is_longer(limit: float, seconds: float) -> bool:
    """Whether a limit is beyond one that was met after so many seconds."""
    return limit > seconds * 1.05


def _number(value: Any) -> float:
    return max(0.0, float(value)) if isinstance(value, int | float) else 0.0
