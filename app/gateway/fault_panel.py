"""Fault panel: the port that breaks stand-in upstreams on purpose.

There is none where real upstreams are configured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Wish:
    """A fault to switch on, by its name in the catalogue.

    `times` is how many requests shall suffer it, None for all until it is healed;
    `params` are its knobs, and those left out keep their defaults.
    """

    fault: str
    times: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


class WishRefused(Exception):
    """The stand-in refused: no such fault, or a bad parameter. Its own words."""


class FaultPanel(Protocol):
    """The port that switches faults of stand-ins on and off. Threads may share it.

    Faults are told as the stand-ins tell them: `fault` (None for none), `times` and
    `params`. All methods raise an UpstreamError if a stand-in can't be reached.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The stand-ins, in the order in which they are shown."""
        ...

    def catalogue(self) -> Sequence[Mapping[str, Any]]:
        """Return every fault: `name`, `sentence` and `params` with their defaults."""
        ...

    def fault(self, name: str) -> Mapping[str, Any]:
        """Return the fault that is switched on."""
        ...

    def break_with(self, name: str, wish: Wish) -> Mapping[str, Any]:
        """Switch a fault on and return it. Raises WishRefused."""
        ...

    def heal(self, name: str) -> Mapping[str, Any]:
        """Switch the fault off; requests that it holds up stay held up."""
        ...
