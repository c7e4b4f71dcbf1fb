"""`report`: what the records say of a time, for those who have to account for it.

It reads the database itself, so it works while the gateway is down.
"""

from datetime import datetime, timedelta
from time import time

import click

from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, NO, UNREADABLE, exit_codes
from app.cli.records import readable
from app.cli.screen import progress, say, say_json, say_line
from app.cli.shown.report_text import lines, named, told
from app.cli.shown.times import Moment, unix, zone_of
from app.wiring import report_on, report_page

When = timedelta | datetime | None
DAY = timedelta(days=1)


@click.group(epilog=exit_codes("done", UNREADABLE, CONFIG, no="a chat is unexplained"))
def report() -> None:
    """Tell what the records say of a time."""


@report.command(
    epilog=exit_codes(
        "all is explained", UNREADABLE, CONFIG, no="a chat is unexplained"
    )
)
@click.option(
    "--since",
    type=Moment(),
    default=DAY,
    help="From then on: 30m, 2h or 7d ago, or a date and time; default: 1d.",
)
@click.option("--until", type=Moment(), help="Until then: written as --since.")
@click.option("--utc", "is_utc", is_flag=True, help="Times in UTC, also on a terminal.")
@click.option("--html", "as_html", is_flag=True, help="Print a page, fit for paper.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def degraded(
    since: When, until: When, is_utc: bool, as_html: bool, as_json: bool
) -> None:
    """Tell every minute in which a fallback or nobody answered, and why.

    Causes come in their order. At the end are the heads of the records' chain: who
    keeps the report can show later that no record up to there was changed.
    """
    zone, now = zone_of(is_utc=is_utc), time()
    end = unix(until, zone) or now
    begin = unix(since, zone) or 0.0
    if begin >= end:
        raise click.UsageError("--since must be before --until.")
    settings = settings_or_exit()
    with readable(), progress("Reading", as_json=as_json or as_html) as tell:
        made = report_on(settings, begin, end, tell)
    if as_json:
        say_json(named(made))
    elif as_html:
        say(report_page(made, told(made, zone)))
    else:
        for line in lines(made, zone):
            say_line(line)
    raise SystemExit(NO if made.unexplained else 0)
