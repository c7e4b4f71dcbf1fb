"""ChatRouter: the handler that picks a request's upstreams and opens its reply."""

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic

from app.gateway.abilities import CHAT, JSON, MULTIPLE, PREFILL
from app.gateway.budget import Budget, Clock
from app.gateway.chat import ChatRequest, StreamMode
from app.gateway.errors import NobodyAble, NobodyAnswered
from app.gateway.handler import ReplyStream
from app.gateway.routing.continuation import live, verified
from app.gateway.routing.failover import Failover, nobody
from app.gateway.routing.routes import UNDECLARED, Route, RouteTable
from app.gateway.routing.without_tools import WithoutTools
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
        self.table = self._table = RouteTable(upstreams, routes, abilities, tasks)
        self._clock = clock

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Return a reply that has begun, or is complete.

        Raises NobodyAnswered when all failed, an upstream's own error when it
        forbids asking another, Unsupported when nobody can what is needed, and
        UnknownModel for one that no route has. Who can do nothing with the tools of a
        request that may be answered without is asked without them, after those who
        can.
        """
        upstreams = self._candidates(request)
        if request.model in self._table.names:
            request = request._replace(model=None)
        try:
            return self._pursued(upstreams, request, budget)
        except NobodyAnswered as error:
            if not self._table.leaves_out(request):
                raise
            raise _nobody_able(error) from error

    def _candidates(self, request: ChatRequest) -> list[Candidate]:
        """Whom to ask, each as it can be asked."""
        upstreams = self._table.upstreams_for(request)
        if not request.wants:
            return [*upstreams]
        return [
            one if self._table.can(one, request.wants) else WithoutTools(one)
            for one in upstreams
        ]

    def _pursued(
        self, upstreams: Sequence[Candidate], request: ChatRequest, budget: Budget
    ) -> ReplyStream:
        is_live = request.stream and request.stream_mode is not StreamMode.VERIFIED
        pursuit = Failover(
            upstreams,
            request,
            budget,
            may_use_reserve=is_live,
            can_go_on=self._can_go_on if _may_be_begun(request) else nobody,
            clock=self._clock,
        )
        return live(pursuit) if is_live else verified(pursuit)

    def _can_go_on(self, upstream: Candidate) -> bool:
        return self._table.can(upstream, frozenset({PREFILL}))


def _may_be_begun(request: ChatRequest) -> bool:
    """Whether its answer may be gone on with: it is one text that obeys no grammar.

    A server would apply a grammar from its beginning again. Servers go on with one
    message at most, so where the caller has begun the answer, there is no place for
    ours.
    """
    return (
        request.stream_mode is StreamMode.CONTINUE
        and request.task == CHAT
        and not request.needs & {JSON, MULTIPLE}
        and request.messages[-1].role != "assistant"
    )


def _nobody_able(error: NobodyAnswered) -> NobodyAble:
    """The same failure, where others would have been there for a simpler request."""
    unable = NobodyAble(retry_after=error.retry_after)
    unable.attempts, unable.may_repeat = error.attempts, error.may_repeat
    return unable
