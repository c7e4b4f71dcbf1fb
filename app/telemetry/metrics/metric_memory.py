"""MetricMemory: numbers that a worker counts in a mapped file of its own.

    bytes 0-7      how many bytes of the list are in use
    then           CELLS numbers of 8 bytes
    then           the list: a line of JSON for each series, in the order of their cells

Adding a series writes its line first and counts it afterwards, so that whoever reads,
or takes the file over from a killed process, finds whole lines only.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from app.host.files import Memory

CELLS = 16_384
_NUMBERS_AT = 8
_LIST_AT = _NUMBERS_AT + 8 * CELLS
SIZE = 512 * 1024


@dataclass(frozen=True, slots=True)
class Series:
    """One instrument with one set of labels: `width` cells, from `first` on."""

    name: str
    labels: tuple[str, ...]
    first: int
    width: int


class MetricMemory:
    """The writer's view of the memory. For one thread at a time.

    From SCRAP on are cells that belong to no series: to write where there is no
    room, and for nobody to read.
    """

    SCRAP = CELLS - 64

    def __init__(self, memory: bytearray | Memory) -> None:
        self._memory = memory
        view = memoryview(memory)
        self._used = view[:_NUMBERS_AT].cast("Q")
        self.numbers = view[_NUMBERS_AT:_LIST_AT].cast("d")
        self._next = max((s.first + s.width for s in self.series()), default=0)

    def series(self) -> Iterator[Series]:
        """What is there already."""
        return parse(bytes(self._memory[_LIST_AT : _LIST_AT + self._used[0]]))

    def add(self, name: str, labels: tuple[str, ...], width: int) -> int | None:
        """Make room for a new series of zeroes; return its first cell, if there is."""
        line = json.dumps([name, labels, self._next, width]).encode() + b"\n"
        at, end = self._next, self._next + width
        list_end = _LIST_AT + self._used[0]
        if end > self.SCRAP or list_end + len(line) > SIZE:
            return None
        for cell in range(at, end):
            self.numbers[cell] = 0.0
        self._memory[list_end : list_end + len(line)] = line
        self._used[0] += len(line)
        self._next = end
        return at


def parse(lines: bytes) -> Iterator[Series]:
    """Read the list of series."""
    for line in lines.splitlines():
        name, labels, first, width = json.loads(line)
        yield Series(name, tuple(labels), first, width)


def snapshot(memory: bytes) -> Iterator[tuple[Series, list[float]]]:
    """Read a copy of somebody's memory: each series and its numbers."""
    view = memoryview(memory)
    used = view[:_NUMBERS_AT].cast("Q")[0]
    numbers = view[_NUMBERS_AT:_LIST_AT].cast("d")
    for series in parse(memory[_LIST_AT : _LIST_AT + used]):
        yield series, list(numbers[series.first : series.first + series.width])
