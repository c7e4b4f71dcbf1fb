"""Without tools: an upstream that cannot use tools, and is asked all the same.

Agents send their tools with every chat. Unless one of them must be called, an answer
in words is one that the caller has to expect, so nobody is refused for sending them.
"""

from app.gateway.abilities import TOOLS
from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest, ReplyFacts
from app.gateway.handler import ReplyStream
from app.gateway.turns import ONLY, Candidate, Turn


class WithoutTools:
    """A candidate that is asked without the tools of a request.

    Its reply says that they were left out. Threads may share it.
    """

    def __init__(self, upstream: Candidate) -> None:
        self._upstream = upstream
        self.name = upstream.name
        self.timeout = upstream.timeout

    def open(
        self, request: ChatRequest, budget: Budget, turn: Turn = ONLY
    ) -> ReplyStream:
        """Ask the upstream; see `Candidate.open`."""
        stream = self._upstream.open(request.without_tools(), budget, turn)
        stream.learn(ReplyFacts(left_out=(TOOLS,)))
        return stream
