"""ChatRouter: the handler that picks a request's upstreams and opens its reply."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from time import monotonic

from app.gateway.budget import Budget, Clock
from app.gateway.chat import ChatRequest, StreamMode
from app.gateway.handler import ReplyStream
from app.gateway.routing.continuation import live, verified
from app.gateway.routing.failover import Failover
from app.gateway.routing.routes import UNDECLARED, Route, RouteTable
from app.gateway.turns import Candidate


class ChatRouter:
    """Asks the upstreams of a request in their order. Threads may share it.

    `routes` give models their own upstreams; `abilities` says what each upstream
    can, by name, and `tasks` what it serves. A reply that the caller wants whole, and
    a stream in verified mode, is in hand completely before anything is returned; a live
    stream is returned once it has begun. A `model` that is the name of an upstream only
    chooses it: no server is asked for a model of that name. The model of a route is
    passed on, since routes are for the names of real models too.
    """

    def __init__(
        self,
        upstreams: Sequence[Candidate],
        clock: Clock = monotonic,
        *,
        routes: Iterable[Route] = (),
        abilities: Mapping[str, frozenset[str]] = UNDECLARED,
        tasks: Mapping[str, frozenset[str]] = UNDECLARED,
    ) -> None:
        self._table = RouteTable(upstreams, routes, abilities, tasks)
        self._clock = clock

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Return a reply that has begun, or is complete.

        Raises NobodyAnswered when all failed, an upstream's own error when it
        forbids asking another, Unsupported when nobody can what is needed, and
        UnknownModel for one that no route has.
        """
        upstreams = self._table.upstreams_for(request)
        if request.model in self._table.names:
            request = replace(request, model=None)
        is_live = request.stream and request.stream_mode is StreamMode.LIVE
        pursuit = Failover(
            upstreams,
            request,
            budget,
            may_use_reserve=is_live,
            clock=self._clock,
        )
        return live(pursuit) if is_live else verified(pursuit)
