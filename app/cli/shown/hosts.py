"""The hosts of a status, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.cli.shown.times import shown_duration


def hosts_of(status: Mapping[str, Any]) -> Iterator[str]:
    """Make a line for each host that writes the same records; none for one alone."""
    hosts = status.get("hosts") or []
    names = [host["name"] for host in hosts]
    for host in hosts:
        name = host["name"]
        if names.count(name) > 1:  # several gateways on one machine
            name += f" {host['place']}"
        yield f"host {name}: {_how(host)}"


def _how(host: Mapping[str, Any]) -> str:
    if not host["workers"]:
        return f"none of its workers lives, since {shown_duration(host['silent'])}"
    count = host["workers"]
    facts = [f"{count} worker{'s'[: count > 1]}", f"version {host['version']}"]
    if others := host["differences"]:
        facts.append(f"other than here: {', '.join(others)}")
    return ", ".join(facts)
