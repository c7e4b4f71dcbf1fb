"""Lifetimes: for how long answers are cached, by the model that a request names."""

import re
from collections.abc import Iterable
from fnmatch import translate

from app.gateway.routing.routes import is_glob


class Lifetimes:
    """Seconds by model. Threads may share it.

    `default` holds where no route says another time. `routes` are models, by name or
    glob, with their seconds, None for the default; `upstreams` are names that go before
    globs, as in the choice of upstreams.
    """

    def __init__(
        self,
        default: float,
        routes: Iterable[tuple[str, float | None]] = (),
        upstreams: Iterable[str] = (),
    ) -> None:
        self._default = default
        self._globs: list[tuple[re.Pattern[str], float]] = []
        self._exact: dict[str, float] = {}
        for model, seconds in routes:
            lasts = default if seconds is None else seconds
            if is_glob(model):
                self._globs.append((re.compile(translate(model)), lasts))
            else:
                self._exact.setdefault(model, lasts)
        for name in upstreams:
            self._exact.setdefault(name, default)

    def __bool__(self) -> bool:
        """Whether anything is cached at all."""
        every = (*self._exact.values(), *(lasts for _, lasts in self._globs))
        return self._default > 0 or any(lasts > 0 for lasts in every)

    def of(self, model: str | None) -> float:
        """Return the seconds of a model; 0: its answers are not cached."""
        if model is None:
            return self._default
        if model in self._exact:
            return self._exact[model]
        fitting = (lasts for glob, lasts in self._globs if glob.match(model))
        return next(fitting, self._default)
