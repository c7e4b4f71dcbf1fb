"""`config`: look at the settings before they matter."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import click

from app.cli.client import GatewayClient
from app.cli.exits import CONFIG, NOT_ALLOWED, exit_codes
from app.cli.failing import Failure
from app.cli.screen import say_json, say_line
from app.cli.shown.hosts import hosts_of
from app.settings import (
    Settings,
    in_force,
    load_usable,
    name_of,
    origin,
    shown,
    warnings_about,
)
from app.settings.names import PREFIX
from app.wiring import (
    AT_RESTART_ONLY,
    doubts_about,
    place_of_records,
    problems_of_files,
)

ASK_TIMEOUT = 3.0  # seconds; whoever checks a file does not wait for a gateway
NOBODY_TELLS = "What a HUP would change is told to a token of the scope `admin` only."


@click.group(epilog=exit_codes("done", CONFIG))
def config() -> None:
    """Check the settings."""


@config.command(epilog=exit_codes("usable", _78="not usable"))
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def check(as_json: bool) -> None:
    """Name every mistake at once, or print what is in force; secrets stay hidden.

    Each is told with its file, line and key, or with its variable. Files and folders
    are looked at, and nothing is changed. Warnings tell what will not work well, and
    are no mistakes. If the gateway runs, what a HUP would change is told, too.
    """
    settings, problems = load_usable(needs_token=True)
    told = dict.fromkeys([*problems, *problems_of_files(settings)])
    if problems := sorted(told, key=_line):
        warnings = warnings_about()
        _warn(() if as_json else warnings)
        raise Failure(CONFIG, *problems, warnings=warnings)
    warnings = [*doubts_about(settings), *warnings_about(settings)]
    changes = list(_changes(settings))
    if as_json:
        found = {**in_force(settings), "warnings": warnings, "changes": changes}
        say_json(found, indent=2)
        return
    said = (*changes, *_hosts(), _verdict(settings, len(warnings)))
    for line in (*_table(settings), "", *said):
        say_line(line)
    _warn(warnings)


def _line(problem: str) -> tuple[str, int]:
    """By file and line; what is about variables or a whole file goes first."""
    found = re.match(r"(.+?):(\d+): ", problem)
    return (found[1], int(found[2])) if found else ("", 0)


def _table(settings: Settings) -> Iterator[str]:
    """What is in force, in JSON's notation, and where each value is from."""
    for key, value in shown(settings).items():
        variable = name_of(key)
        tables = (
            value if isinstance(value, list) and key in ("upstreams", "routes") else []
        )
        for number, entry in enumerate(tables):
            text = json.dumps(_said(entry), ensure_ascii=False)
            name = f"{variable} {number + 1}"
            yield f"{name:<28} {text}  ({origin(key, number)})"
        if not tables:
            text = "-" if value is None else json.dumps(value, ensure_ascii=False)
            yield f"{variable:<28} {text}  ({origin(key)})"


def _said(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value not in (None, "", [])}


def _verdict(settings: Settings, warnings: int) -> str:
    names = ", ".join(one.name for one in settings.effective_upstreams())
    told = f", with {warnings} warning{'s'[: warnings > 1]}" if warnings else ""
    return f"Usable{told}: asks {names}; records in {place_of_records(settings)}"


def _changes(settings: Settings) -> Iterator[str]:
    """What a HUP would change, or only a restart; nothing where no gateway answers.

    As far as it can be told from here: the gateway has the environment of its start.
    """
    try:
        running = GatewayClient.of_this_installation(ASK_TIMEOUT).settings()
    except Failure as failure:
        if failure.exit_code == NOT_ALLOWED:
            yield NOBODY_TELLS
        return
    now, is_same = shown(settings), True
    for key, value in now.items():
        if key in running and running[key] != value:
            is_same = False
            is_at_start = key in AT_RESTART_ONLY or origin(key).startswith(PREFIX)
            how = "Only a restart" if is_at_start else "A HUP"
            yield f"{how} would change {key}: {_difference(running[key], value)}"
    if is_same:
        yield "A HUP would change nothing of this (secrets are not compared)"


def _hosts() -> Iterator[str]:
    """The hosts that write the same records, and in what they are not alike."""
    with suppress(Failure):
        yield from hosts_of(GatewayClient.of_this_installation(ASK_TIMEOUT).status())


def _difference(before: Any, after: Any) -> str:
    """What is another, and of lists of tables only the keys that are."""
    if not (_is_tables(before) and _is_tables(after)):
        return _change(before, after)
    told = [
        f"number {number}, {key}: {_change(old.get(key), new.get(key))}"
        for number, (old, new) in enumerate(zip(before, after, strict=False), 1)
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    if len(before) != len(after):
        told.append(f"{len(before)} entries become {len(after)}")
    return "; ".join(told)


def _change(before: Any, after: Any) -> str:
    return f"{json.dumps(before)} becomes {json.dumps(after)}"


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        say_line(f"Warning: {warning}", err=True)
