"""What a fault is, and how a function becomes one.

A fault is a function of an Exchange, with its knobs as keyword arguments. The
first line of its docstring is the sentence that the catalogue shows.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.exchange import Exchange
from sandbox.listener import Door

Knob = float | int | str | bool
Play = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break; `rows` are those of docs/faults.md.

    `is_everywhere`: breaks every path unless told otherwise, not the chat only.
    `only_reused`: strikes from a connection's second request on.
    `skips_body`: strikes before the request's body is read.
    """

    name: str
    sentence: str
    rows: tuple[int, ...]
    knobs: Mapping[str, Knob]
    play: Play
    is_everywhere: bool = False
    only_reused: bool = False
    skips_body: bool = False
    door: Door = Door.OPEN

    def bind(self, params: Mapping[str, Any]) -> dict[str, Knob]:
        """All knobs with these values in place of the defaults.

        Raises ValueError for an unknown knob or a value that does not fit.
        """
        for name, value in params.items():
            if name not in self.knobs:
                raise ValueError(f"{self.name} has no parameter {name!r}")
            if not _fits(value, self.knobs[name]):
                raise ValueError(f"{name} of {self.name} can not be {value!r}")
        return {k: type(d)(params.get(k, d)) for k, d in self.knobs.items()}

    def describe(self) -> dict[str, Any]:
        """Say it as an entry of the catalogue, in JSON's types."""
        return {
            "name": self.name,
            "sentence": self.sentence,
            "rows": list(self.rows),
            "params": dict(self.knobs),
            "everywhere": self.is_everywhere,
        }


class Faults(dict[str, Fault]):
    """The faults of one module, filled by its decorator."""

    def __call__(self, *rows: int, **flags: Any) -> Callable[[Play], Play]:
        """Enter the decorated function as the fault of its name."""

        def enter(play: Play) -> Play:
            name = play.__name__
            sentence = (inspect.getdoc(play) or "").partition("\n")[0]
            self[name] = Fault(name, sentence, rows, _knobs(play), play, **flags)
            return play

        return enter


def _knobs(play: Callable[[Exchange], None]) -> dict[str, Knob]:
    parameters = inspect.signature(play).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _fits(value: object, default: Knob) -> bool:
    """Numbers and texts that say the same are taken; a bool is neither.

    No knob has a use for a negative number.
    """
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, str):
        return isinstance(value, str | int)
    kinds = int if isinstance(default, int) else int | float
    return isinstance(value, kinds) and value >= 0
