"""Loading the settings, with every problem told at once and no value in any message."""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.settings.conflicts import conflicts
from app.settings.file import config_values
from app.settings.model import Settings
from app.settings.names import (
    environment,
    masked,
    unread_variables,
    variable_in_force,
    variables_of,
)
from app.settings.problems import SettingsError, problems_of, settings_of

VARIABLES = variables_of(Settings.model_fields)


def load(**overrides: Any) -> Settings:
    """Read the settings; raise SettingsError with every problem at once."""
    return _load(overrides)


def load_local(**overrides: Any) -> Settings:
    """Read them for a command that lets nobody in: `token` may be None.

    Raises SettingsError as `load` does. No gateway may be built of these.
    """
    return _load(overrides, unlooked=("auth_mode",))


def load_other(file: Path) -> Settings:
    """Read them as `load_local` does, with this file in place of VX11_CONFIG."""
    return _load({}, unlooked=("auth_mode",), file=file)


def load_usable() -> tuple[Settings, list[str]]:
    """Read what can be used of the settings, and every problem with the rest.

    For commands that look after a gateway which runs while its file is broken. A file
    that is no TOML gives nothing; what is wrong otherwise has its default.
    """
    values, problems = environment(VARIABLES), []
    try:
        values = config_values() | values
    except SettingsError as error:
        problems = error.problems
    wrong: frozenset[str] = frozenset()
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        wrong = settings_of(error, VARIABLES)
        problems += problems_of(error, VARIABLES)
        rest = {name: v for name, v in values.items() if name not in wrong}
        settings = Settings.model_validate(rest)
    return settings, problems


def in_force(settings: Settings) -> dict[str, Any]:
    """Every setting by the name of the variable that is read for it; no secret."""
    values = settings.model_dump(mode="json")
    values["upstreams"] = [
        upstream.model_dump(mode="json") for upstream in settings.effective_upstreams()
    ]
    return {variable_in_force(VARIABLES[n]): masked(v) for n, v in values.items()}


def listed_upstreams() -> list[dict[str, Any]]:
    """The entries of [[upstreams]] as they were given, whatever is wrong with them."""
    try:
        given = (config_values() | environment(VARIABLES)).get("upstreams")
        entries = json.loads(given) if isinstance(given, str) else given
    except (SettingsError, ValueError, RecursionError):
        return []
    listed = entries if isinstance(entries, list) else []
    return [entry if isinstance(entry, dict) else {} for entry in listed]


def warnings_about(settings: Settings | None = None) -> list[str]:
    """What is odd in the environment, though it keeps nothing from working."""
    upstreams = settings.upstreams if settings else ()
    return unread_variables(VARIABLES, {u.api_key_env for u in upstreams})


def _load(
    overrides: dict[str, Any],
    unlooked: Collection[str] = (),
    file: Path | None = None,
) -> Settings:
    """Build them, as long as nothing is wrong but conflicts of what is `unlooked`."""
    values = environment(VARIABLES) | overrides
    try:
        settings, problems = _checked(config_values(file) | values, unlooked)
    except SettingsError as error:
        # What is wrong with the variables that are set, whatever the file may say.
        others = _checked(values, unlooked)[1]
        mine = [p for p in others if p.partition(":")[0] in os.environ]
        raise SettingsError(error.problems + mine) from None
    if problems:
        raise SettingsError(problems)
    return settings


def _checked(
    values: dict[str, Any], unlooked: Collection[str]
) -> tuple[Settings, list[str]]:
    """The settings without those that are wrong, and every problem."""
    wrong, problems = frozenset(unlooked), []
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        wrong |= settings_of(error, VARIABLES)
        problems = problems_of(error, VARIABLES)
        rest = {name: v for name, v in values.items() if name not in wrong}
        settings = Settings.model_validate(rest)
    known = {name: value for name, value in settings if name not in wrong}
    return settings, problems + conflicts(known)
