"""Loading the settings, with every problem told at once and no value in any message."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.settings.conflicts import conflicts
from app.settings.entries import RouteSettings, UpstreamSettings
from app.settings.file import config_file
from app.settings.listed import listed, problems_among
from app.settings.model import Settings
from app.settings.names import (
    RENAMED,
    environment,
    masked,
    unread_variables,
    variable_in_force,
    variables_of,
)
from app.settings.places import Places
from app.settings.problems import Problem, SettingsError, problems_of, settings_of

VARIABLES = variables_of(Settings.model_fields)
KEYS = {
    "": (*Settings.model_fields, *RENAMED),
    "upstreams": UpstreamSettings.model_fields,
    "routes": RouteSettings.model_fields,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: what can be used of it, and what is wrong with the rest.

    Of settings that are wrong `settings` has the defaults. `values` are as they were
    given.
    """

    settings: Settings
    values: dict[str, Any]
    problems: list[str]


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


def load_usable(*, needs_token: bool = False) -> tuple[Settings, list[str]]:
    """Read what can be used of the settings, and every problem with the rest.

    For commands that look after a gateway which runs while its file is broken. What
    is wrong has its default.
    """
    reading = _read({}, () if needs_token else ("auth_mode",))
    return reading.settings, reading.problems


def in_force(settings: Settings) -> dict[str, Any]:
    """Every setting by the name of the variable that is read for it; no secret."""
    return {name_of(name): value for name, value in shown(settings).items()}


def shown(settings: Settings) -> dict[str, Any]:
    """Every setting by its key; no secret."""
    values = settings.model_dump(mode="json")
    values["upstreams"] = [
        upstream.model_dump(mode="json") for upstream in settings.effective_upstreams()
    ]
    return {name: masked(value) for name, value in values.items()}


def name_of(setting: str) -> str:
    """The variable that is read for a setting: the one that is set, or to be set."""
    return variable_in_force(VARIABLES[setting])


def changed(settings: Settings, before: Settings) -> list[str]:
    """The keys of all settings that are others than before, secrets too."""
    names = Settings.model_fields
    return [n for n in names if getattr(settings, n) != getattr(before, n)]


def origin(setting: str, *rest: int | str) -> str:
    """Where the value of a setting is from: a variable, `file:line`, or `default`."""
    return _places().origin(setting, *rest)


def told_at(setting: str, words: str, *rest: int | str) -> str:
    """The line that tells what is wrong with a setting, or with a part of its value."""
    return _places().tell(Problem((setting, *rest), words))


def listed_upstreams() -> list[dict[str, Any]]:
    """The entries of [[upstreams]] as they were given, whatever is wrong with them."""
    return listed(config_file().values | environment(VARIABLES), "upstreams")


def warnings_about(settings: Settings | None = None) -> list[str]:
    """What is odd in the environment, though it keeps nothing from working."""
    upstreams = settings.upstreams if settings else ()
    return unread_variables(VARIABLES, {u.api_key_env for u in upstreams})


def _places() -> Places:
    return Places(config_file(), VARIABLES)


def _load(
    overrides: dict[str, Any],
    unlooked: Collection[str] = (),
    file: Path | None = None,
) -> Settings:
    """Build them, as long as nothing is wrong but conflicts of what is `unlooked`."""
    reading = _read(overrides, unlooked, file)
    if reading.problems:
        raise SettingsError(reading.problems)
    return reading.settings


def _read(
    overrides: dict[str, Any], unlooked: Collection[str], other: Path | None = None
) -> Reading:
    file = config_file(other)
    values = file.values | environment(VARIABLES) | overrides
    settings, problems = _checked(values, unlooked)
    told = Places(file, VARIABLES).told(problems)
    return Reading(settings, values, [*file.problems, *told])


def _checked(
    values: dict[str, Any], unlooked: Collection[str]
) -> tuple[Settings, list[Problem]]:
    """The settings without those that are wrong, and every problem."""
    wrong: frozenset[str] = frozenset(unlooked)
    problems: list[Problem] = []
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems = problems_of(error, VARIABLES, KEYS)
        bad = settings_of(problems, VARIABLES)
        wrong |= bad
        rest = {name: v for name, v in values.items() if name not in bad}
        settings = Settings.model_validate(rest)
    known = {name: value for name, value in settings if name not in wrong}
    return settings, problems + conflicts(known) + problems_among(values)
