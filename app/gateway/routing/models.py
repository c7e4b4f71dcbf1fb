"""Models: the names that callers may ask for, and what is known of each."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import translate

from app.gateway.routing.routes import is_glob


@dataclass(frozen=True, slots=True)
class Model:
    """A name that chooses an upstream or a route, or a glob of such names.

    `context_length` is in tokens; 0 is not known.
    """

    name: str
    context_length: int = 0


class Models:
    """Finds models by their names; of two with one name the first counts.

    `listed` are those that have a name of their own. Threads may share it.
    """

    def __init__(self, models: Iterable[Model] = ()) -> None:
        self._by_name: dict[str, Model] = {}
        self._globs: list[tuple[re.Pattern[str], Model]] = []
        for model in models:
            if is_glob(model.name):
                self._globs.append((re.compile(translate(model.name)), model))
            else:
                self._by_name.setdefault(model.name, model)
        self.listed = tuple(self._by_name.values())

    def find(self, name: str) -> Model | None:
        """The model of that name; of a glob, under the name that was asked for."""
        if name in self._by_name:
            return self._by_name[name]
        fitting = (model for glob, model in self._globs if glob.match(name))
        found = next(fitting, None)
        return found and replace(found, name=name)
