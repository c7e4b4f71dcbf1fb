"""Sources: the files of our modules, as they were when the master loaded them."""

import os
import sys
from collections.abc import Iterator

Stamp = tuple[int, int, int]


class Sources:
    """The files of a package's modules. One thread of the master has it.

    Workers share the modules of the master, which costs each of them less time and
    memory, as long as each file is the one that the master loaded.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._stamps: dict[str, Stamp | None] = {}

    def note(self) -> None:
        """Remember the files of all modules that are loaded and not yet known."""
        for name, file in self._modules():
            if name not in self._stamps:
                self._stamps[name] = _stamp(file)

    def forget_if_changed(self) -> bool:
        """Unload all modules if a file of one is another; return whether it is so."""
        self.note()
        modules = list(self._modules())
        if all(_stamp(file) == self._stamps[name] for name, file in modules):
            return False
        for name, _ in modules:
            del sys.modules[name]
        return True

    def _modules(self) -> Iterator[tuple[str, str]]:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == self._package:
                yield name, module.__file__ or ""


def _stamp(file: str) -> Stamp | None:
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
