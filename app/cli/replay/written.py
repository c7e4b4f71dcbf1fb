"""Written: the report of a run in lines, as JSON, as JUnit's XML and as a page.

It holds ids and numbers and none of the words, so that it may be handed on.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from html import escape
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from app.cli.shown.times import shown_duration
from app.gateway.replay.report import Case, Report, Summary

HEADS = (
    "upstream",
    "chats",
    "answered",
    "equal",
    "likeness",
    "outcome",
    "finish",
    "tools",
    "p50",
    "p95",
    "tokens in",
    "tokens out",
)

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; color: #1c2430; background: #fff; }
table { border-collapse: collapse; width: 100%; margin: 0 0 2rem; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #d5dbe3;
  overflow-wrap: anywhere; }
th:first-child, td:first-child { text-align: left; }
code { font-size: .85em; }
.bad { color: #a3182a; } .good { color: #17663a; }
@media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
"""


def as_facts(report: Report) -> dict[str, Any]:
    """The whole report as plain values."""
    return {
        "ok": bool(report.cases) and report.is_answered and not report.broken(),
        "cases": [asdict(case) for case in report.cases],
        "skipped": [{"record": r, "reason": why} for r, why in report.skipped],
        "upstreams": [asdict(one) for one in report.summaries()],
        "broken": [
            {"record": one.case.record, "upstream": one.case.upstream, "what": one.what}
            for one in report.broken()
        ],
        "worst": [case.record for case in report.worst()],
        "thresholds": [limit._asdict() for limit in report.limits],
    }


def as_json_text(report: Report) -> str:
    """The whole report as JSON."""
    return json.dumps(as_facts(report), indent=1) + "\n"


def as_junit(report: Report) -> str:
    """The report as a CI reads it: a suite for each upstream, a test for each chat."""
    root = Element("testsuites", name="replay")
    broken = {(one.case.record, one.case.upstream): one.what for one in report.broken()}
    suites: dict[str, list[Case]] = {}
    for case in report.same_questions():
        if not case.is_baseline:
            suites.setdefault(case.upstream, []).append(case)
    for upstream, cases in suites.items():
        failures = sum((case.record, upstream) in broken for case in cases)
        suite = _suite(root, upstream, len(cases), failures=failures)
        for case in cases:
            test = _test(suite, upstream, case.record, seconds=case.seconds)
            if what := broken.get((case.record, upstream)):
                words = f"differs: {', '.join(what)}"
                SubElement(test, "failure", message=words, type="difference")
    if report.skipped:
        many = len(report.skipped)
        suite = _suite(root, "not asked", many, skipped=many)
        for record, why in report.skipped:
            SubElement(_test(suite, "not asked", record), "skipped", message=why)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(
    root: Element, name: str, tests: int, *, failures: int = 0, skipped: int = 0
) -> Element:
    counts = {"tests": tests, "failures": failures, "errors": 0, "skipped": skipped}
    shown = {key: str(value) for key, value in counts.items()}
    return SubElement(root, "testsuite", {"name": name, **shown})


def _test(suite: Element, upstream: str, record: str, seconds: float = 0.0) -> Element:
    facts = {"classname": f"replay.{upstream}", "name": record}
    return SubElement(suite, "testcase", {**facts, "time": f"{seconds:.3f}"})


def summary_lines(report: Report) -> Iterator[str]:
    """The report for a terminal: numbers, what broke, and the worst."""
    cells = [HEADS, *map(_cells, report.summaries())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()
    for one in report.broken():
        yield f"differs: {one.case.record} {one.case.upstream} ({', '.join(one.what)})"
    yield from _remarks(report)


def _remarks(report: Report) -> Iterator[str]:
    """What was not counted, and why."""
    placeholders = len(report.cases) - len(report.same_questions())
    if placeholders:
        yield f"{placeholders} were asked with placeholders, and are not counted."
    reasons: dict[str, int] = {}
    for _, why in report.skipped:
        reasons[why] = reasons.get(why, 0) + 1
    for why, many in sorted(reasons.items()):
        yield f"{many} not asked: {why}"


def _cells(one: Summary) -> tuple[str, ...]:
    return (
        f"{one.upstream} (baseline)" if one.is_baseline else one.upstream,
        str(one.cases),
        _share(one.answered, one.cases),
        _share(one.equal, one.cases),
        "-" if one.likeness is None else f"{one.likeness:.2f}",
        _share(one.same_outcome, one.cases),
        _share(one.same_finish, one.cases),
        _share(one.same_tools, one.cases),
        *map(shown_duration, one.seconds),
        str(one.input_tokens),
        str(one.output_tokens),
    )


def _share(some: int, whole: int) -> str:
    return f"{100 * some / whole:.0f} %"


def as_html(report: Report) -> str:
    """The report as a page that prints well; it loads nothing."""
    broken = {(one.case.record, one.case.upstream): one.what for one in report.broken()}
    verdict = (
        f'<p class="bad">{len(broken)} of the answers break a threshold.</p>'
        if broken
        else '<p class="good">No threshold is broken.</p>'
    )
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Replay</title>",
        f"<style>{_STYLE}</style><h1>Replay</h1>{verdict}",
        _table(HEADS, map(_cells, report.summaries())),
        *(f"<p>{escape(sentence)}</p>" for sentence in _remarks(report)),
        "<h2>Broken</h2>",
        _table(
            ("record", "upstream", "differs in"),
            ((*key, ", ".join(what)) for key, what in broken.items()),
        ),
        "<h2>The worst</h2>",
        _table(WORST_HEADS, map(_worst_cells, report.worst())),
    ]
    return "\n".join(parts) + "\n"


WORST_HEADS = ("record", "replay", "upstream", "likeness", "then", "now", "same")


def _worst_cells(case: Case) -> tuple[str, ...]:
    same = {
        "outcome": case.is_same_outcome,
        "finish": case.is_same_finish,
        "tools": case.is_same_tools,
    }
    return (
        case.record,
        case.replay,
        case.upstream,
        "-" if case.likeness is None else f"{case.likeness:.2f}",
        shown_duration(case.seconds_before),
        shown_duration(case.seconds),
        ", ".join(name for name, is_same in same.items() if is_same) or "-",
    )


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return "".join(
        (
            f"<table><thead>{_row('th', heads)}</thead><tbody>",
            *(_row("td", row) for row in rows),
            "</tbody></table>",
        )
    )


def _row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


# By the options of the command that name the files.
WRITTEN: Mapping[str, Callable[[Report], str]] = {
    "report": as_json_text,
    "junit": as_junit,
    "html": as_html,
}
