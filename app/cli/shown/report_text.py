"""A report for people: as lines, and as the words of its page."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo
from typing import Any

from app.cli.shown.times import shown_duration, shown_time, zone_name
from app.gateway.evidence.past import Happening
from app.gateway.evidence.report import MinuteReport, Report, Share, Stop, WindowReport

NOTHING = "-"


def told(report: Report, zone: tzinfo | None) -> dict[str, Any]:
    """The words of a report, by the names that its page has for them."""
    return {
        "since": _at(report.since, zone, named=True),
        "until": _at(report.until, zone, named=True),
        "summary": summary(report),
        "windows": [_window(one, zone) for one in report.windows],
        "minutes": [_minute(one, zone) for one in report.bad_minutes],
        "stops": [_stop(one, zone) for one in report.stops],
        "heads": report.heads,
    }


def named(one: Any) -> Any:
    """A value as the API answers it: with the names of its parts, however deep."""
    if hasattr(one, "_asdict"):
        return {name: named(part) for name, part in one._asdict().items()}
    if hasattr(one, "__dataclass_fields__"):
        return {name: named(getattr(one, name)) for name in one.__dataclass_fields__}
    return [named(part) for part in one] if isinstance(one, tuple) else one


def lines(report: Report, zone: tzinfo | None) -> Iterator[str]:
    """The lines of a report: outages and why, every bad minute, the head."""
    words = told(report, zone)
    yield f"{words['since']} to {words['until']}: {words['summary']}"
    for window in words["windows"]:
        yield from _window_lines(window)
    minutes = (
        f"{one['at']}  {one['bad']} of {one['chats']}: {one['why']}"
        for one in words["minutes"]
    )
    yield from _section("Every bad minute", minutes)
    stops = (
        f"{one['since']} to {one['until']}, {one['why']}" for one in words["stops"]
    )
    yield from _section("Not running", stops)
    proof = "Head of the records; kept elsewhere, an anchor: `records verify --head`"
    yield from _section(proof, words["heads"])


def _window_lines(window: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield (
        f"{window['kind']}, {window['began']} to {window['ended']}: {window['chats']}"
    )
    for cause in window["causes"]:
        yield f"  {cause['at']}  {cause['sentence']} ({cause['chats']})"
    if window["happenings"]:
        yield "  What happened around it:"
    for one in window["happenings"]:
        yield f"    {one['at']}  {one['sentence']}"


def _section(title: str, rows: Iterable[str]) -> Iterator[str]:
    """A heading and its rows, if there are any."""
    for number, row in enumerate(rows):
        if number == 0:
            yield ""
            yield title
        yield f"  {row}"


def summary(report: Report) -> str:
    """The report in one or two sentences."""
    bad = len(report.bad_minutes)
    text = f"{_many(report.chats, 'chat')}. "
    if bad:
        text += (
            f"{_many(bad, 'bad minute')}: {report.degraded} degraded, "
            f"{report.unanswered} unanswered, {report.refused} refused."
        )
    else:
        text += "Every one was answered by its first choice."
    if report.stops:
        text += f" The gateway was not running: {_many(len(report.stops), 'time')}."
    if report.unexplained:
        text += f" No cause is on record for {_many(report.unexplained, 'chat')}."
    return text


def _window(window: WindowReport, zone: tzinfo | None) -> dict[str, Any]:
    return {
        "kind": window.kind.capitalize(),
        "began": _at(window.began, zone),
        "ended": _at(window.ended, zone),
        "chats": _many(window.chats, "chat"),
        "causes": _causes(window.causes, zone),
        "happenings": _happenings(window.happenings, zone),
    }


def _causes(causes: Sequence[Share], zone: tzinfo | None) -> list[dict[str, Any]]:
    return [
        {
            "at": _at(one.at, zone),
            "sentence": one.sentence,
            "chats": _many(one.chats, "chat"),
            "word": one.word,
        }
        for one in causes
    ]


def _happenings(
    happenings: Sequence[Happening], zone: tzinfo | None
) -> list[dict[str, Any]]:
    return [{"at": _at(one.at, zone), "sentence": one.sentence} for one in happenings]


def _minute(minute: MinuteReport, zone: tzinfo | None) -> dict[str, Any]:
    why = "; ".join(f"{one.sentence} ({one.chats})" for one in minute.causes)
    return {
        "at": _at(minute.at, zone),
        "chats": minute.chats,
        "bad": minute.degraded + minute.unanswered + minute.refused,
        "degraded": minute.degraded,
        "unanswered": minute.unanswered,
        "refused": minute.refused,
        "p50": NOTHING if minute.p50 is None else shown_duration(minute.p50),
        "why": why,
    }


def _stop(stop: Stop, zone: tzinfo | None) -> dict[str, Any]:
    why = "as it was told" if stop.was_told else "and nobody had told it to stop"
    return {
        "since": _at(stop.since, zone),
        "until": _at(stop.until, zone),
        "why": f"{why} (lane {stop.lane})",
    }


def _at(seconds: float, zone: tzinfo | None, *, named: bool = False) -> str:
    name = f" {zone_name(seconds, zone)}" if named else ""
    return f"{shown_time(seconds, zone)}{name}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
