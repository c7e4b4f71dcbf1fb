"""The TOML file of the settings, as it lies there or as a worker was handed it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.host.files import shown_path
from app.host.toml_text import TomlText
from app.settings.handed import handed
from app.settings.names import CONFIG, RENAMED


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The file of VX11_CONFIG: what it says, as far as it can be read.

    `path` is "" where there is none. `problems` are whole lines for people: of a file
    that cannot be read, and one for each mistake of one that is not quite TOML.
    """

    path: str
    toml: TomlText
    problems: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """What it says, under today's names."""
        said = dict(self.toml.values)
        old = {new: said.pop(name) for name, new in RENAMED.items() if name in said}
        return old | said


def config_file(other: Path | None = None) -> ConfigFile:
    """Read it, or the other one; nothing is raised, for what can be used is of use."""
    path = str(other or os.environ.get(CONFIG, ""))
    try:
        toml = TomlText(other.read_text("utf-8") if other else _text(path))
    except OSError as error:
        where = shown_path(Path(path))
        why = f"{CONFIG}: {where} cannot be read: {error.strerror}"
        return ConfigFile(path, TomlText(""), (why,))
    except UnicodeDecodeError:
        return ConfigFile(
            path, TomlText(""), (f"{CONFIG}: {shown_path(Path(path))} is not UTF-8",)
        )
    problems = (
        f"{path}:{one.line}: {one.words}" if one.line else f"{path}: {one.words}"
        for one in toml.mistakes
    )
    return ConfigFile(path, toml, tuple(problems))


def config_text() -> str | None:
    """The text of the file as it lies there, for workers; None if there is none."""
    path = os.environ.get(CONFIG, "")
    with suppress(OSError, UnicodeDecodeError):
        return _text(path) if path else None
    return None


def _text(path: str) -> str:
    """The text of the file; "" without one. Raises OSError and UnicodeDecodeError."""
    if (given := handed()) is not None:
        return given.config or ""
    return Path(path).read_text("utf-8") if path else ""
