"""What is wrong with the settings, in words that name the variable and no value."""

from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.settings.names import PREFIX, Variables, variable_in_force


class SettingsError(Exception):
    """The configuration cannot be used. `problems` has a line for each variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def problems_of(error: ValidationError, variables: Variables) -> list[str]:
    """One line per problem, naming the variable and never the value."""
    # A variable may be read for two settings.
    lines = [line for detail in _real(error) for line in _lines(detail, variables)]
    return list(dict.fromkeys(lines))


def settings_of(error: ValidationError, variables: Variables) -> frozenset[str]:
    """The settings that are wrong in themselves, by all their names."""
    wrong = {str(detail["loc"][0]) for detail in _real(error)}
    others = [{s, *names} for s, names in variables.items() if wrong & {s, *names}]
    return frozenset(wrong.union(*others))


def _real(error: ValidationError) -> list[ErrorDetails]:
    """A default that is made of another setting cannot be wrong by itself."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return [
        detail for detail in found if detail["type"] != "default_factory_not_called"
    ]


def _lines(error: ErrorDetails, variables: Variables) -> Iterator[str]:
    """What was told of one setting; a line may name another one by itself."""
    where = _where(error["loc"], variables)
    for line in error["msg"].removeprefix("Value error, ").splitlines():
        yield line if line.startswith(PREFIX) else f"{where}: {line}"


def _where(loc: tuple[int | str, ...], variables: Variables) -> str:
    first = str(loc[0])
    choices = next(
        (names for setting, names in variables.items() if first in (setting, names[0])),
        (PREFIX + first.upper(),),
    )
    rest = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc[1:])
    return variable_in_force(choices) + rest
