"""Decisions: what is decided of a chat before anybody is asked, as its record has it.

Its attempts tell what became of that. Both together say why a chat went as it did, and
what it would have been under other settings.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from app.gateway.abilities import CHAT
from app.gateway.chat import ChatRequest, Priority, StreamMode
from app.gateway.errors import GatewayError
from app.gateway.routing.routes import RouteTable

# Different decisions whose text is kept at hand; callers choose the models' names.
KEPT = 512


class Decisions:
    """Tells of requests whom they may ask, and within what. Threads may share it.

    `config` is the digest of the settings in force (see the events of route `config`),
    and `name` takes out of a model's name what may not be stored.
    """

    def __init__(
        self,
        table: RouteTable[Any],
        config: str = "",
        name: Callable[[str], str] = str,
    ) -> None:
        self._table, self._config, self._name = table, config, name
        self._text = lru_cache(KEPT)(self._made)

    def of(self, request: ChatRequest, seconds: float) -> str | None:
        """Return the decision as JSON; `seconds` are those that the chat has left.

        None for a replay, of which an operator has decided.
        """
        if request.replay:
            return None
        mode = request.stream_mode if request.stream else None
        return self._text(
            request.model,
            request.task,
            request.needs,
            request.wants,
            mode,
            request.priority,
            round(seconds, 1),
        )

    def _made(
        self,
        model: str | None,
        task: str,
        needs: frozenset[str],
        wants: frozenset[str],
        mode: StreamMode | None,
        priority: Priority,
        seconds: float,
    ) -> str:
        wish = ChatRequest((), "", "", model=model, task=task, needs=needs, wants=wants)
        facts: dict[str, Any] = {
            "model": model and self._name(model),
            "route": self._table.route_of(model or ""),
            "order": self._order(wish),
            "needs": sorted(needs),
            "wants": sorted(wants),
            "task": "" if task == CHAT else task,
            "mode": mode and mode.value,
            "class": priority.name.lower(),
            "deadline": seconds,
            "config": self._config,
        }
        told = {name: fact for name, fact in facts.items() if fact}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    def _order(self, wish: ChatRequest) -> list[str]:
        """Whom it may ask, in the order of asking; nobody if it is refused."""
        try:
            return [one.name for one in self._table.upstreams_for(wish)]
        except GatewayError:
            return []
