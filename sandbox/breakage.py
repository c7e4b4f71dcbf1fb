"""Which fault is switched on, for which path and how often still."""

from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from sandbox.exchange import Exchange
from sandbox.faults import CATALOGUE, Fault
from sandbox.faults.registry import Knob
from sandbox.listener import Door

EVERYWHERE = "*"


@dataclass(frozen=True, slots=True)
class Armed:
    """A fault that is switched on; `times` is None until somebody heals it."""

    fault: Fault
    params: dict[str, Knob]
    path: str
    times: int | None
    since: float

    def strikes(self, x: Exchange) -> bool:
        """Whether this request is one of those that shall fail."""
        if self.fault.only_reused and x.turn == 0:
            return False
        return self.path in (EVERYWHERE, x.request.path)

    def play(self, x: Exchange) -> None:
        """Answer in the broken way."""
        self.fault.play(x, **self.params)

    def describe(self) -> dict[str, Any]:
        """Say it as the control API does."""
        return {
            "fault": self.fault.name,
            "times": self.times,
            "path": self.path,
            "params": self.params,
        }


class Breakage:
    """At most one fault at a time. Threads may share it.

    `now` is always in seconds, on the server's clock.
    """

    def __init__(self, chat_path: str) -> None:
        self._chat_path = chat_path
        self._armed: Armed | None = None
        self._lock = Lock()  # guards the state; never held while a fault plays

    @property
    def armed(self) -> Armed | None:
        """The fault that is switched on, if one is."""
        with self._lock:
            return self._armed

    def arm(
        self,
        name: str,
        path: str | None,
        times: int | None,
        params: dict[str, Any],
        now: float,
    ) -> Armed:
        """Switch a fault on, in place of the one before.

        Raises ValueError for an unknown fault or parameter and for a number of
        times that makes no sense.
        """
        if (fault := CATALOGUE.get(name)) is None:
            raise ValueError(f"no fault is named {name!r}")
        if times is not None and (times < 1 or fault.door is not Door.OPEN):
            raise ValueError(f"{name} can not be played {times} times")
        where = path or (EVERYWHERE if fault.is_everywhere else self._chat_path)
        armed = Armed(fault, fault.bind(params), where, times, now)
        with self._lock:
            self._armed = armed
        return armed

    def disarm(self) -> None:
        """Switch the fault off; what it already holds up stays held up."""
        with self._lock:
            self._armed = None

    def take(self, x: Exchange, now: float) -> Armed | None:
        """The fault that this request must suffer, if any, and count it."""
        with self._lock:
            armed = self._armed
            if armed is None or not armed.strikes(x):
                return None
            if armed.times is not None:
                left = armed.times - 1
                self._armed = replace(armed, times=left) if left else None
        x.fault_age = now - armed.since
        return armed
