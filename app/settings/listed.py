"""Listed: `[[upstreams]]` and `[[routes]]` as given, whatever is wrong inside.

What one entry has to do with another is looked at here, since one that is wrong in
itself must not hide that two have the same name.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.host.toml_words import nearest
from app.settings.problems import Problem


def listed(values: Mapping[str, Any], setting: str) -> list[dict[str, Any]]:
    """The entries of a list of tables; what is none counts as an empty one."""
    given = values.get(setting)
    try:
        entries = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        return []
    found = entries if isinstance(entries, list | tuple) else []
    return [entry if isinstance(entry, dict) else {} for entry in found]


def problems_among(values: Mapping[str, Any]) -> list[Problem]:
    """What does not fit between entries: names that are doubled, or lead nowhere."""
    upstreams = listed(values, "upstreams")
    names = [entry.get("name") for entry in upstreams]
    known = {name for name in names if isinstance(name, str)}
    routes = listed(values, "routes")
    if not upstreams:
        known = {"switch", "madre"}
    return [*_doubled(names), *_lost(routes, known)]


def _doubled(names: list[Any]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if isinstance(name, str) and number != first.setdefault(name, number):
            words = f"number {first[name] + 1} has the same name"
            yield Problem(("upstreams", number, "name"), words)


def _lost(routes: list[dict[str, Any]], known: set[str]) -> Iterator[Problem]:
    for number, route in enumerate(routes):
        names = route.get("upstreams")
        for place, name in enumerate(names if isinstance(names, list | tuple) else ()):
            if isinstance(name, str) and name not in known:
                words = f"there is no such upstream{nearest(name, known)}"
                yield Problem(("routes", number, "upstreams", place), words)
