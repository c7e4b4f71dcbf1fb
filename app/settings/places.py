"""Places: where each setting is said, for messages that a person can follow."""

import os
from dataclasses import dataclass

from app.host.toml_text import Loc
from app.host.toml_words import key_of, shown_key
from app.settings.file import ConfigFile
from app.settings.names import RENAMED, Variables, variable_in_force
from app.settings.problems import Problem

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Places:
    """Tells of each setting where it is said: in a variable, or a line of the file."""

    file: ConfigFile
    variables: Variables

    def tell(self, problem: Problem) -> str:
        """The line that tells of this problem; no value is in it."""
        name, *rest = problem.loc
        if line := self._line(problem.loc):
            return f"{self.file.path}:{line}: {key_of(problem.loc)}: {problem.words}"
        names = self.variables.get(str(name))
        variable = variable_in_force(names) if names else shown_key(name)
        steps = "".join(
            f"[{part}]" if isinstance(part, int) else f".{shown_key(part)}"
            for part in rest
        )
        return f"{variable}{steps}: {problem.words}"

    def told(self, problems: list[Problem]) -> list[str]:
        """The lines of all problems, each once, less what follows from others."""
        real = (one for one in problems if not self._follows(one))
        return list(dict.fromkeys(map(self.tell, real)))

    def origin(self, setting: str, *rest: int | str) -> str:
        """Where a value in force is from: a variable, `file:line`, or `default`."""
        if variable := self._variable(setting):
            return variable
        line = self._line((setting, *rest))
        return f"{self.file.path}:{line}" if line else DEFAULT

    def _follows(self, problem: Problem) -> bool:
        """Whether it is only missing because its line is no TOML."""
        return (
            problem.is_missing
            and not self._variable(str(problem.loc[0]))
            and self.file.toml.is_torn(problem.loc[:-1])
        )

    def _variable(self, setting: str) -> str:
        names = self.variables.get(setting, ())
        return next((name for name in names if os.environ.get(name)), "")

    def _line(self, loc: Loc) -> int | None:
        setting = str(loc[0])
        if self._variable(setting):
            return None
        before = [old for old, new in RENAMED.items() if new == setting]
        lines = (self.file.toml.line_of((n, *loc[1:])) for n in (setting, *before))
        return next(filter(None, lines), None)
