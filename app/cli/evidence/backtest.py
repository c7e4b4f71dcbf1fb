"""`backtest`: what other settings had changed, by the records and without a call."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from time import time

import click

from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, UNREADABLE, exit_codes
from app.cli.failing import Failure
from app.cli.records import readable
from app.cli.screen import progress, say_json, say_line
from app.cli.shown.report_text import named
from app.cli.shown.times import Moment, shown_duration, shown_time, unix, zone_of
from app.gateway.evidence.backtest import Backtest, Trip
from app.settings import Settings, SettingsError, load_other
from app.wiring import backtest_of

When = timedelta | datetime | None
NOBODY = "nobody"
TRIPS = 20  # lines


@click.command(epilog=exit_codes("done", UNREADABLE, CONFIG))
@click.option(
    "--config",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The other settings, a file as VX11_CONFIG names one.",
)
@click.option(
    "--since",
    type=Moment(),
    default=timedelta(days=1),
    help="From then on: 30m, 2h or 7d ago, or a date and time; default: 1d.",
)
@click.option("--until", type=Moment(), help="Until then: written as --since.")
@click.option("--utc", "is_utc", is_flag=True, help="Times in UTC, also on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def backtest(file: Path, since: When, until: When, is_utc: bool, as_json: bool) -> None:
    """Tell what other settings had changed about the chats that are on record.

    Each chat is decided twice, by the parts of production and without a call: with the
    settings of now and with those of the file. Variables that are set count for both.
    At the end is said what cannot be known.
    """
    zone = zone_of(is_utc=is_utc)
    end = unix(until, zone) or time()
    begin = unix(since, zone) or 0.0
    if begin >= end:
        raise click.UsageError("--since must be before --until.")
    settings, others = settings_or_exit(), _others(file)
    with readable(), progress("Deciding", as_json=as_json) as tell:
        result = backtest_of(settings, others, begin, end, tell)
    if as_json:
        say_json(named(result))
        return
    for line in _lines(result, zone):
        say_line(line)


def _others(file: Path) -> Settings:
    try:
        return load_other(file)
    except SettingsError as error:
        raise Failure(CONFIG, *error.problems, heading="--config:") from None


def _lines(result: Backtest, zone: tzinfo | None) -> Iterator[str]:
    since, until = shown_time(result.since, zone), shown_time(result.until, zone)
    yield f"{since} to {until}: {result.chats} chats, decided twice without a call"
    yield (
        f"With the settings of now {_percent(result.as_recorded, result.chats)} of "
        "them are answered by whom they were in truth"
    )
    yield ""
    yield f"Answered by, now:   {_counts(result.answered_by)}"
    yield f"Answered by, then:  {_counts(result.answered_by_then)}"
    yield (
        f"Another answer:     {result.changed} ({result.better} better, "
        f"{result.worse} worse, {result.unknown} unknown; {result.guessed} are guessed "
        "from calls of others)"
    )
    saved, added = map(shown_duration, (result.seconds_saved, result.seconds_added))
    yield f"Waiting:            {saved} less, {added} more, where both are known"
    yield f"All places taken:   {result.crowded} chats met that now, " + (
        f"{result.crowded_then} then"
    )
    yield from _trips("Circuits that open, now", result.trips, zone)
    yield from _trips("Circuits that open, then", result.trips_then, zone)
    if result.examples:
        yield ""
        yield "Some of those with another answer (see `explain ID`)"
    for change in result.examples:
        before, after = change.before or NOBODY, change.after or NOBODY
        yield f"  {change.id}  {before} -> {after}: {change.verdict}"
    yield ""
    yield "What cannot be known"
    for one in result.cannot_know:
        yield f"  {one}"


def _trips(title: str, trips: tuple[Trip, ...], zone: tzinfo | None) -> Iterator[str]:
    yield ""
    yield f"{title}: {len(trips)}"
    for trip in trips[:TRIPS]:
        yield f"  {shown_time(trip.at, zone)}  {trip.upstream}"


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    return ", ".join(f"{name or NOBODY} {count}" for name, count in ordered) or "-"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"
