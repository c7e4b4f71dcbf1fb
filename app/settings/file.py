"""The TOML file of the settings, as it lies there or as a worker was handed it."""

import os
import tomllib
from pathlib import Path
from typing import Any

from app.settings.handed import handed
from app.settings.names import CONFIG, RENAMED
from app.settings.problems import SettingsError


def config_values(other: Path | None = None) -> dict[str, Any]:
    """What the file, or the other one, says, under today's names; empty without one.

    Raises SettingsError.
    """
    try:
        said = tomllib.loads((_text_of(other) if other else config_text()) or "")
        old = {new: said.pop(name) for name, new in RENAMED.items() if name in said}
        return old | said
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{CONFIG}: {error}"]) from None
    except RecursionError:
        raise SettingsError([f"{CONFIG}: is nested too deeply"]) from None


def config_text() -> str | None:
    """The file's text; None without one. Raises SettingsError."""
    if (given := handed()) is not None:
        return given.config
    path = os.environ.get(CONFIG)
    return _text_of(Path(path)) if path else None


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise SettingsError([f"{CONFIG}: there is no such file"]) from None
    except OSError as error:
        raise SettingsError([f"{CONFIG}: {error.strerror}"]) from None
    except ValueError:
        raise SettingsError([f"{CONFIG}: is not UTF-8"]) from None
