"""Hosts: who writes the same records, and in what they are not alike.

Each worker tells of its host beside its lane. Values of settings are told as digests
that only who knows the key of the audit can compare, so no value leaves its host.
"""

import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

DIGITS = 16  # of a digest, in hexadecimal


class HostFacts(NamedTuple):
    """What a host tells of itself: its version, and digests of settings and tokens.

    `place` is its state folder: several gateways on one machine have one each.
    """

    version: str = ""
    place: str = ""
    tokens: str = ""
    settings: Mapping[str, str] = {}

    def to_json(self) -> str:
        """The facts for others to read."""
        return json.dumps(self._asdict(), sort_keys=True)

    @classmethod
    def of_json(cls, text: str) -> "HostFacts":
        """Read what another host told; of what has another shape nothing is known."""
        try:
            told = json.loads(text)
        except ValueError:
            return cls()
        told = told if isinstance(told, dict) else {}
        settings = told.get("settings")
        settings = settings if isinstance(settings, dict) else {}
        words = {
            name: str(told.get(name, "")) for name in ("version", "place", "tokens")
        }
        return cls(**words, settings={k: str(v) for k, v in settings.items()})

    def differences(self, other: "HostFacts") -> tuple[str, ...]:
        """Name what is not alike: `version`, `tokens`, and settings that both have."""
        both = sorted(self.settings.keys() & other.settings.keys())
        found = [name for name in both if self.settings[name] != other.settings[name]]
        if self.tokens and other.tokens and self.tokens != other.tokens:
            found.insert(0, "tokens")
        if self.version != other.version:
            found.insert(0, "version")
        return tuple(found)


class LaneOwner(NamedTuple):
    """One lane: the name of its host, what that told, and for how long it is silent.

    `silent` is in seconds, 0 while the worker lives.
    """

    name: str
    facts: HostFacts
    silent: float


class SharingHost(NamedTuple):
    """A host, as another one sees it: its workers that live, and its lanes.

    `silent` is in seconds since the last of its workers was heard of, 0 while one
    lives. `differences` are between it and the one that looks.
    """

    name: str
    place: str
    version: str
    workers: int
    lanes: int
    silent: float
    differences: tuple[str, ...]


def sharing_hosts(
    lanes: Iterable[LaneOwner], own: HostFacts
) -> tuple[SharingHost, ...]:
    """Put lanes together to hosts, by their names; each tells what it told last."""
    found: dict[tuple[str, str], list[LaneOwner]] = {}
    for lane in lanes:
        found.setdefault((lane.name, lane.facts.place), []).append(lane)
    return tuple(_host(found[host], own) for host in sorted(found))


def _host(lanes: list[LaneOwner], own: HostFacts) -> SharingHost:
    latest = min(lanes, key=lambda lane: lane.silent)
    return SharingHost(
        latest.name,
        latest.facts.place,
        latest.facts.version,
        sum(lane.silent == 0 for lane in lanes),
        len(lanes),
        latest.silent,
        own.differences(latest.facts) if latest.silent == 0 else (),
    )


def digest_of(key: bytes, name: str, value: Any) -> str:
    """Return what is told of a value: the same for the same value and key."""
    text = f"host {name}\n{json.dumps(value, sort_keys=True)}".encode()
    return hmac.digest(key, text, "sha256").hex()[:DIGITS]
