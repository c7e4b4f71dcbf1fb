"""Times as an operator types and reads them: in one time zone, which is named."""

import re
import sys
from datetime import UTC, datetime, timedelta, tzinfo
from time import time
from typing import Any

import click

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_FORM = "must be like 2h, 30m or 7d, or like 2026-03-31 or 2026-03-31T14:00"


class Moment(click.ParamType[timedelta | datetime]):
    """A time ago (`90s`, `30m`, `2h`, `7d`, `1w`), or a date with or without a time."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta | datetime:
        """Return how long ago, or when; a time without a zone stays without one."""
        if isinstance(value, timedelta | datetime):
            return value
        if ago := _DURATION.fullmatch(value):
            return timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            self.fail(_FORM, param, ctx)


def zone_of(*, is_utc: bool) -> tzinfo | None:
    """The zone to read and print times in: this host's on a terminal, else UTC."""
    return None if sys.stdout.isatty() and not is_utc else UTC


def unix(moment: timedelta | datetime | None, zone: tzinfo | None) -> float | None:
    """That moment in Unix time; where it names no zone, it is in this one."""
    if moment is None:
        return None
    if isinstance(moment, timedelta):
        return time() - moment.total_seconds()
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise click.UsageError("A time is too far away from today.") from None


def shown_time(seconds: float, zone: tzinfo | None) -> str:
    """A Unix time in that zone, without its name."""
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def zone_name(seconds: float, zone: tzinfo | None) -> str:
    """What the zone is called at that Unix time."""
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone(zone):%Z}"


def shown_duration(seconds: float) -> str:
    """Seconds as a person reads them: `250 ms`, `5.03 s`, `12 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.0f} min"
