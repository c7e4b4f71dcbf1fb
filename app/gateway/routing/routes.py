"""Routes: which upstreams a request may be answered by, and in which order."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from app.gateway.abilities import CHAT_ONLY
from app.gateway.chat import ChatRequest
from app.gateway.errors import UnknownModel, Unsupported

# Models whose upstreams are kept at hand; callers choose the names.
KEPT = 512
NONE: frozenset[str] = frozenset()
UNDECLARED: Mapping[str, frozenset[str]] = {}


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True, slots=True)
class Route:
    """`model` is a name, or a glob of names; `upstreams` are asked in that order."""

    model: str
    upstreams: tuple[str, ...]


class RouteTable(Generic[N]):
    """Finds the upstreams of a request. Threads may share it.

    `abilities` says what each upstream can, by name; one that is not in it can
    none of what a request may need. `tasks` says in the same way what each serves;
    one that is not in it serves chats. `names` are those of all upstreams. Without any
    routes the names of models are the upstreams' business.
    """

    def __init__(
        self,
        upstreams: Sequence[N],
        routes: Iterable[Route] = (),
        abilities: Mapping[str, frozenset[str]] = UNDECLARED,
        tasks: Mapping[str, frozenset[str]] = UNDECLARED,
    ) -> None:
        self._all = tuple(upstreams)
        self._abilities = abilities
        self._tasks = tasks
        self._found = lru_cache(KEPT)(self._find)
        self._has_routes = False
        self._globs: list[tuple[re.Pattern[str], tuple[N, ...]]] = []
        self._models: list[tuple[re.Pattern[str], str]] = []
        self._exact: dict[str, tuple[N, ...]] = {}
        by_name = self._by_name = {u.name: u for u in self._all}
        for route in routes:
            self._has_routes = True
            chosen = tuple(by_name[name] for name in route.upstreams)
            if is_glob(route.model):
                glob = re.compile(translate(route.model))
                self._globs.append((glob, chosen))
                self._models.append((glob, route.model))
            else:
                self._exact.setdefault(route.model, chosen)
        self.names = frozenset(by_name)
        self._routed_exactly = frozenset(self._exact)
        for upstream in self._all:
            others = tuple(u for u in self._all if u is not upstream)
            self._exact.setdefault(upstream.name, (upstream, *others))

    def upstreams_for(self, request: ChatRequest) -> tuple[N, ...]:
        """Return the upstreams to ask, in order, at least one.

        The route of exactly that model comes first, then the upstream of that name
        (and the others behind it), then the first glob that fits. Everybody is asked
        for no model, and for any if there are no routes: else raises UnknownModel.
        A replay asks the upstream that it names, and nobody else.
        Of these, those that do not serve its task, or cannot do what it needs, are
        left out, and those that cannot do what it wants come last. Raises Unsupported
        if nobody is left.
        """
        routed = self._serving(request)
        if not (request.needs or request.wants):
            return routed
        fit = tuple(u for u in routed if self.can(u, request.needs))
        if not fit:
            raise Unsupported(", ".join(sorted(request.needs)))
        return tuple(sorted(fit, key=lambda u: not self.can(u, request.wants)))

    def route_of(self, model: str) -> str | None:
        """Return the model or glob of the route that decides; None: none does."""
        if model in self._exact:
            return model if model in self._routed_exactly else None
        return next((text for glob, text in self._models if glob.match(model)), None)

    def can(self, upstream: Named, abilities: frozenset[str]) -> bool:
        """Whether an upstream has all of these abilities."""
        return abilities <= self._abilities.get(upstream.name, NONE)

    def leaves_out(self, request: ChatRequest) -> bool:
        """Whether somebody is not asked for want of what the request needs."""
        routed = self._serving(request)
        return not all(self.can(u, request.needs) for u in routed)

    def _serving(self, request: ChatRequest) -> tuple[N, ...]:
        """Those of its model that serve its task, at least one."""
        if replay := request.replay:
            return self._of_task((self._by_name[replay.upstream],), request.task)
        return self._found(request.model or "", request.task)

    def _find(self, model: str, task: str) -> tuple[N, ...]:
        return self._of_task(self._routed(model), task)

    def _of_task(self, routed: tuple[N, ...], task: str) -> tuple[N, ...]:
        serving = tuple(u for u in routed if task in self._tasks.get(u.name, CHAT_ONLY))
        if not serving:
            raise Unsupported(task)
        return serving

    def _routed(self, model: str) -> tuple[N, ...]:
        if model in self._exact:
            return self._exact[model]
        fitting = (chosen for glob, chosen in self._globs if glob.match(model))
        chosen = next(fitting, None)
        if chosen is None and model and self._has_routes:
            raise UnknownModel("unknown_model")
        return chosen or self._all


def is_glob(model: str) -> bool:
    """Whether a route's model stands for more than the one name."""
    return any(sign in model for sign in "*?[")
