"""Loading the settings, with every problem told at once and no value in any message."""

import os
from typing import Any, TypeVar

from pydantic import ValidationError, create_model, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from app.settings.file import config_values
from app.settings.model import Settings, VX11Variables
from app.settings.names import (
    masked,
    unread_variables,
    variable_in_force,
    variables_of,
)
from app.settings.problems import SettingsError, problems_of, settings_of


class LocalSettings(Settings):
    """Settings of a command that lets nobody in, so that it needs no token."""

    @field_validator("auth_mode")
    @classmethod
    def _callers_are_guarded(cls, mode: str) -> str:  # type: ignore[override]
        return mode


class _WithoutFile(Settings):
    """What the environment alone says."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, VX11Variables(settings_cls)


VARIABLES = variables_of(Settings.model_fields)
Kind = TypeVar("Kind", bound=Settings)


def load(**overrides: Any) -> Settings:
    """Read the settings; raise SettingsError with every problem at once."""
    return _load(Settings, overrides)


def load_local(**overrides: Any) -> Settings:
    """Read them for a command that lets nobody in: `token` may be None.

    Raises SettingsError as `load` does. No gateway may be built of these.
    """
    return _load(LocalSettings, overrides)


def in_force(settings: Settings) -> dict[str, Any]:
    """Every setting by the name of the variable that is read for it; no secret."""
    values = settings.model_dump(mode="json")
    values["upstreams"] = [
        upstream.model_dump(mode="json") for upstream in settings.effective_upstreams()
    ]
    return {variable_in_force(VARIABLES[n]): masked(v) for n, v in values.items()}


def warnings_about(settings: Settings | None = None) -> list[str]:
    """What is odd in the environment, though it keeps nothing from working."""
    upstreams = settings.upstreams if settings else ()
    return unread_variables(VARIABLES, {u.api_key_env for u in upstreams})


def _load(kind: type[Kind], overrides: dict[str, Any]) -> Kind:
    if problem := _problem_of_the_file():
        raise SettingsError([problem, *_problems_of_the_environment(overrides)])
    try:
        return kind(**overrides)
    except ValidationError as error:
        raise SettingsError(_all_problems(kind, overrides, error)) from None


def _all_problems(
    kind: type[Settings], overrides: dict[str, Any], error: ValidationError
) -> list[str]:
    """Also those that show only when the settings which are wrong are left out."""
    rest = create_model("Rest", __base__=kind)
    problems = problems_of(error, VARIABLES)
    while new := settings_of(error, VARIABLES) - rest.left_out:
        rest.left_out |= new
        try:
            rest(**overrides)
        except ValidationError as more:
            problems += problems_of(more, VARIABLES)
            error = more
    return list(dict.fromkeys(problems))


def _problem_of_the_file() -> str | None:
    try:
        config_values()
    except SettingsError as error:
        return error.problems[0]
    return None


def _problems_of_the_environment(overrides: dict[str, Any]) -> list[str]:
    """What is wrong with the variables that are set, whatever the file may say."""
    try:
        _WithoutFile(**overrides)
    except ValidationError as error:
        problems = _all_problems(_WithoutFile, overrides, error)
        return [p for p in problems if p.partition(":")[0] in os.environ]
    return []
