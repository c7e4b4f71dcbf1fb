"""The report as one file of HTML, without scripts, that prints well."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader

from app.gateway.evidence.report import MinuteReport, Report

TEMPLATES = Path(__file__).parents[1] / "templates"
WIDTH, FLOOR = 800, 140  # of the picture, in its own units
BARS = 200  # at most, of whole minutes
MINUTE = 60
COLOURS = ("#2c8a80", "#cf8512", "#c83c3c")
NOT_RUNNING = "#8b897f"


class Bar(NamedTuple):
    """A piece of the picture, in its units."""

    x: float
    y: float
    width: float
    height: float
    colour: str


def render(report: Report, words: Mapping[str, Any]) -> str:
    """Return the page of a report, given its words."""
    pages = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    bins = _bins(report)
    most = max(map(sum, bins), default=0)
    bars = [*_bars(bins, most), *_stops(report)]
    return pages.get_template("report.html").render(bars=bars, most=most, **words)


def _step(report: Report) -> float:
    minutes = (report.until - report.since) / MINUTE
    return MINUTE * max(1, -(-minutes // BARS))


def _bins(report: Report) -> list[list[int]]:
    step = _step(report)
    count = int(-(-(report.until - report.since) // step)) + 1
    bins = [[0, 0, 0] for _ in range(count)]
    for minute in report.minutes:
        for kind, chats in enumerate(_ends(minute)):
            bins[max(0, int((minute.at - report.since) // step))][kind] += chats
    return bins


def _ends(minute: MinuteReport) -> tuple[int, int, int]:
    bad = minute.unanswered + minute.refused
    return minute.chats - minute.degraded - bad, minute.degraded, bad


def _bars(bins: list[list[int]], most: int) -> Iterator[Bar]:
    width = WIDTH / len(bins)
    for place, ends in enumerate(bins):
        floor = float(FLOOR)
        for colour, chats in zip(COLOURS, ends, strict=True):
            if height := round(chats / max(1, most) * (FLOOR - 10), 2):
                floor -= height
                x = round(place * width, 2)
                yield Bar(x, round(floor, 2), round(width * 0.85, 2), height, colour)


def _stops(report: Report) -> Iterator[Bar]:
    scale = WIDTH / (report.until - report.since)
    for stop in report.stops:
        width = max(2.0, round((stop.until - stop.since) * scale, 2))
        x = round((stop.since - report.since) * scale, 2)
        yield Bar(x, FLOOR - 4, width, 4, NOT_RUNNING)
