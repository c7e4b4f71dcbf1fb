"""Report: what many replays say of an upstream, beside what it says of itself."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

WORST = 10
_THRESHOLD = re.compile(
    r"(?P<plain>outcome|finish|tools)"
    r"|(?P<text>text)<(?P<least>0?\.\d{1,6}|1(?:\.0{1,6})?)"
    r"|(?P<latency>latency)>(?P<most>\d{1,4}(?:\.\d{1,6})?)"
)


@dataclass(frozen=True, slots=True)
class Case:
    """One record, asked again of one upstream.

    `replay` is the record of that. `likeness` is None where a text is not kept.
    `is_baseline`: asked of whom it was asked before, only to see how it differs from
    itself. `is_redacted`: not quite the same question. Times are in seconds.
    """

    record: str
    replay: str
    upstream: str
    is_answered: bool
    is_same_outcome: bool
    is_same_finish: bool
    is_same_tools: bool
    likeness: float | None
    seconds_before: float
    seconds: float
    input_tokens: int = 0
    output_tokens: int = 0
    is_baseline: bool = False
    is_redacted: bool = False


class Threshold(NamedTuple):
    """What may not be different: `text` below a likeness, `latency` above a factor."""

    what: str
    bound: float = 0.0

    def is_broken(self, case: Case) -> bool:
        """Whether a case breaks it; a likeness that nobody knows does not."""
        if self.what == "outcome":
            return not case.is_same_outcome
        if self.what == "finish":
            return not case.is_same_finish
        if self.what == "tools":
            return not case.is_same_tools
        if self.what == "text":
            return case.likeness is not None and case.likeness < self.bound
        return case.seconds > self.bound * case.seconds_before > 0

    def is_news(self, case: Case, baseline: Case | None) -> bool:
        """Whether a case breaks it by more than the first upstream's own variance."""
        if not self.is_broken(case):
            return False
        if baseline is None or not self.is_broken(baseline):
            return True
        if self.what == "text":
            return (case.likeness or 0.0) < (baseline.likeness or 0.0)
        return self.what == "latency" and case.seconds > baseline.seconds


def thresholds(text: str) -> tuple[Threshold, ...]:
    """Read `outcome,finish,tools,text<0.8,latency>3`; raises ValueError."""
    return tuple(
        map(_threshold, filter(None, (one.strip() for one in text.split(","))))
    )


def _threshold(text: str) -> Threshold:
    found = _THRESHOLD.fullmatch(text)
    if not found:
        raise ValueError("must be of outcome, finish, tools, text<0.8, latency>3")
    if found["plain"]:
        return Threshold(found["plain"])
    if found["text"]:
        return Threshold("text", float(found["least"]))
    return Threshold("latency", float(found["most"]))


class Broken(NamedTuple):
    """A case that breaks thresholds, and which."""

    case: Case
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The cases of one upstream in numbers. `seconds` are those at 50 and at 95 %.

    `likeness` is the median one; None where no text is known.
    """

    upstream: str
    cases: int
    answered: int
    equal: int
    same_outcome: int
    same_finish: int
    same_tools: int
    likeness: float | None
    seconds: tuple[float, float]
    input_tokens: int
    output_tokens: int
    is_baseline: bool


@dataclass(slots=True)
class Report:
    """All cases of a run, and the records that could not be asked again, with why."""

    limits: tuple[Threshold, ...] = ()
    cases: list[Case] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_answered(self) -> bool:
        """Whether anybody answered anything."""
        return any(case.is_answered for case in self.cases)

    def same_questions(self) -> list[Case]:
        """The cases in which the question was the very same."""
        return [case for case in self.cases if not case.is_redacted]

    def summaries(self) -> Iterator[Summary]:
        """The numbers of each upstream, the baseline's last."""
        groups: dict[tuple[bool, str], list[Case]] = {}
        for case in self.same_questions():
            groups.setdefault((case.is_baseline, case.upstream), []).append(case)
        for (is_baseline, upstream), cases in sorted(groups.items()):
            yield _summary(upstream, cases, is_baseline=is_baseline)

    def broken(self) -> list[Broken]:
        """The cases that break a threshold by more than the baseline does."""
        baselines = self._baselines()
        found = (
            Broken(case, self._news(case, baselines.get(case.record)))
            for case in self.same_questions()
            if not case.is_baseline
        )
        return [one for one in found if one.what]

    def worst(self) -> list[Case]:
        """The cases that differ most, worst first."""
        cases = [c for c in self.same_questions() if not c.is_baseline and _differs(c)]
        return sorted(cases, key=_badness)[:WORST]

    def _baselines(self) -> Mapping[str, Case]:
        return {case.record: case for case in self.cases if case.is_baseline}

    def _news(self, case: Case, baseline: Case | None) -> tuple[str, ...]:
        return tuple(
            limit.what for limit in self.limits if limit.is_news(case, baseline)
        )


def _differs(case: Case) -> bool:
    is_same = case.is_same_outcome and case.is_same_finish and case.is_same_tools
    return not is_same or case.likeness != 1.0


def _badness(case: Case) -> tuple[bool, bool, bool, float]:
    """Smaller is worse."""
    likeness = 1.0 if case.likeness is None else case.likeness
    return case.is_same_outcome, case.is_same_tools, case.is_same_finish, likeness


def _summary(upstream: str, cases: Sequence[Case], *, is_baseline: bool) -> Summary:
    known = [case.likeness for case in cases if case.likeness is not None]
    times = sorted(case.seconds for case in cases if case.is_answered)
    return Summary(
        upstream=upstream,
        cases=len(cases),
        answered=_count(case.is_answered for case in cases),
        equal=_count(one == 1.0 for one in known),
        same_outcome=_count(case.is_same_outcome for case in cases),
        same_finish=_count(case.is_same_finish for case in cases),
        same_tools=_count(case.is_same_tools for case in cases),
        likeness=median(known) if known else None,
        seconds=(_at(times, 0.5), _at(times, 0.95)),
        input_tokens=sum(case.input_tokens for case in cases),
        output_tokens=sum(case.output_tokens for case in cases),
        is_baseline=is_baseline,
    )


def _count(answers: Iterable[bool]) -> int:
    return sum(answers)


def _at(times: Sequence[float], share: float) -> float:
    """The time that this share of all keeps within."""
    return times[min(int(share * len(times)), len(times) - 1)] if times else 0.0
