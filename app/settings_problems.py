"""What is wrong with the settings, in words that name the variable and no value."""

import re

from pydantic import ValidationError

PREFIX = "VX11_"


class SettingsError(Exception):
    """The configuration cannot be used. `problems` has a line for each variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def not_json(message: str) -> str:
    field = re.search(r'field "(\w+)"', message)
    return f"{PREFIX}{field[1].upper() if field else ''}: must be JSON"


def problems_of(error: ValidationError) -> list[str]:
    """One line per problem, naming the variable and never the value."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    # A default that is made of another setting cannot be wrong by itself.
    real = [e for e in found if e["type"] != "default_factory_not_called"]
    return [_problem(e["loc"], e["msg"]) for e in real]


def _problem(loc: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not loc:
        return message
    first = str(loc[0])
    variable = first if first.startswith(PREFIX) else PREFIX + first.upper()
    rest = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc[1:])
    return f"{variable}{rest}: {message}"
