"""What is wrong with the settings: by place, in words of ours and without the value."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.host.toml_text import Loc
from app.host.toml_words import errors_of, words_of
from app.settings.names import Variables


class SettingsError(Exception):
    """The configuration cannot be used. `problems` has a line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a setting: `loc` is its name, and where in its value.

    `is_missing` tells of what is not there at all.
    """

    loc: Loc
    words: str
    is_missing: bool = False


def problems_of(
    error: ValidationError,
    variables: Variables,
    keys: Mapping[str, Collection[str]],
) -> list[Problem]:
    """What is wrong. `keys` are those of each list of tables, and "" of the file."""
    return [
        Problem(
            _loc(one, variables),
            words_of(one, keys.get(_table(one), ())),
            one["type"] == "missing",
        )
        for one in errors_of(error)
    ]


def settings_of(problems: Iterable[Problem], variables: Variables) -> frozenset[str]:
    """The settings that are wrong in themselves, by all their names."""
    wrong = {str(problem.loc[0]) for problem in problems}
    return frozenset(wrong.union(*(variables.get(name, ()) for name in wrong)))


def _table(error: ErrorDetails) -> str:
    return str(error["loc"][0]) if len(error["loc"]) > 1 else ""


def _loc(error: ErrorDetails, variables: Variables) -> Loc:
    first, *rest = error["loc"]
    named = (name for name, names in variables.items() if first in names[:1])
    return (next(named, first), *rest)
